# Shared by every script that runs on a host; sent in front of it. POSIX sh only, nothing installed.
# Takes: sudo=no group script...
# A script is what a process of the config is known by, where it is no program of the kernel's; see read_program.
# What a script takes is set before it begins, with what it was given or what stands behind the `=`: a word as the variable
# of that name, a list (`log...`) as a function: `with_log COMMAND…` runs COMMAND with all values of the list behind it. No
# name of ours begins with with_ or rp_, and no script looks at its own $1.
# $rp_nonce frames the answer: a line that starts with it opens a section, so that the output of a
# chatty login shell, a motd or a log line can never be taken for an answer.
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
umask 077

# section NAME: what follows, up to the next section, is NAME.
section() { printf '\n%s %s\n' "$rp_nonce" "$1"; }

# What a host prints beside an answer decides nothing: sudo's `unable to resolve host`, a warning of docker, a locale that is
# not there. Judged is by statuses, and by what a command prints on its standard output; the rest is for people to read.

# ask NAME COMMAND…: a section with what the command prints, and where it fails with its complaint; then one with its status.
ask() {
  section "$1"
  rp_name=$1
  shift
  rp_status=0
  {
    rp_complaint=$("$@" 2>&1 >&4 4>&-) || rp_status=$?
  } 4>&1
  [ "$rp_status" = 0 ] || printf '%s' "$rp_complaint"
  section "$rp_name.status"
  printf '%s' "$rp_status"
}

# each COMMAND WORD…: COMMAND once with each WORD. `with_log each COMMAND` is a loop over a list.
each() {
  rp_each=$1
  shift
  for rp_word in "$@"; do "$rp_each" "$rp_word"; done
}

has() { command -v "$1" >/dev/null 2>&1; }

# Our own number, with the shell's own words: each program that is started instead costs a millisecond of the host and of
# the time before traffic is safe.
rp_uid=
{
  while read -r rp_key rp_real rp_effective rp_rest; do
    case $rp_key in Uid:) rp_uid=$rp_effective && break ;; esac
  done </proc/self/status
} 2>/dev/null
[ -n "$rp_uid" ] || rp_uid=$(id -u)

# as_root COMMAND…: through `sudo -n` where the config says so and we are not root already.
as_root() {
  if [ "$sudo" = yes ] && [ "$rp_uid" != 0 ]; then
    sudo -n "$@"
  else
    "$@"
  fi
}

# Several words in one value have a unit separator between them.
rp_unit=$(printf '\037')
# run_words WORDS EXTRA…: runs the command that WORDS holds, as root, with EXTRA behind it. Not with our own umask: nginx
# makes its pid file even when it only tests, and one that root alone may read would stay so when it is started.
run_words() { words_by as_root "$@"; }
# run_bounded SECONDS WORDS: a supervisor's command, run as the account that we are, with its status, or 124 where it has not
# ended by then: it is left to itself, for whoever became root is not ours to end. What it prints goes to descriptor 4, and
# what it starts keeps nothing of ours open.
run_bounded() {
  # By the host's own clock: on one that is busy a pause is longer than it says.
  read_seconds
  rp_bound=$((rp_seconds + $1 + 1))
  words_by plainly "$2" </dev/null >&4 2>&4 3<&- &
  rp_command=$!
  while kill -0 "$rp_command" 2>/dev/null; do
    read_seconds
    [ "$rp_seconds" -lt "$rp_bound" ] || return 124
    pause 0.05
  done
  wait "$rp_command"
}
# read_seconds: since the host started, into $rp_seconds; nobody sets that clock.
read_seconds() { { IFS=' .' read -r rp_seconds rp_fraction </proc/uptime; } 2>/dev/null || rp_seconds=$(date +%s); }
plainly() { exec "$@" 4>&-; }
# words_by RUNNER WORDS EXTRA…
words_by() {
  rp_by=$1 rp_words=$2
  shift 2
  IFS=$rp_unit
  set -f
  # Deliberately unquoted: the unit separator is the only character that splits here.
  # shellcheck disable=SC2086
  set -- $rp_words "$@"
  set +f
  unset IFS
  umask 022
  rp_run=0
  "$rp_by" "$@" || rp_run=$?
  umask 077
  return "$rp_run"
}

# read_whole FILE: its bytes, also where only root may read it.
read_whole() { if [ -r "$1" ]; then cat "$1"; else as_root cat "$1"; fi; }

# live_place FILE: the file behind all links. A link that is itself what is changed stays where it is.
live_place() {
  case ${form-} in
    link) rp_folder=$(readlink -f "${1%/*}/") && printf '%s/%s' "${rp_folder%/}" "${1##*/}" ;;
    *) readlink -f "$1" ;;
  esac
}
# says FILE: what decides in it: its bytes, or where it points.
says() { case ${form-} in link) readlink -n "$1" ;; *) read_whole "$1" ;; esac; }
# may_replace FILE: whether it can be replaced without root: its folder is ours to write, and the owner of the file would stay.
may_replace() { [ -w "${1%/*}/" ] && { [ "${form-}" = link ] || [ -O "$1" ]; }; }

# read_size FILE: its bytes into $rp_size, of the file behind a link, also where only root may look; nothing where nobody
# may, or where it is no file. Never opened: whoever opens a FIFO is held there.
read_size() {
  rp_size=
  rp_stat=$(stat -L -c '%s %F' "$1" 2>/dev/null) || rp_stat=$(as_root stat -L -c '%s %F' "$1" 2>/dev/null) || return 0
  case $rp_stat in *' regular'*) rp_size=${rp_stat%% *} ;; esac
}

# pause SECONDS: a fraction where sleep knows fractions.
pause() { sleep "$1" 2>/dev/null || sleep 1; }

# What is taken of answers that are only compared: a page without end must not fill a memory.
rp_plenty=1048576
# Names that this host need not know, as lines of NAME and address.
rp_known=''
# Words before curl's own, for what this host itself does not reach.
rp_asks=''
# fetch_all GET…: one GET after the other, each on a connection of its own. A GET is NAME, SECONDS, HOST (`-` for none),
# URL and what it is asked with (`header NAME: VALUE`, `ca FILE`, `insecure`), with unit separators between; `unix:/path:/uri`
# is asked over that socket, and `proxy+URL` begins with the line of the PROXY protocol, which wget does not know. Answers
# with a section NAME (head and body) and a section NAME.code. One curl for all of them: its start costs more than an answer.
# What it is to do goes in on its standard input: the nonce and secrets on a command line could be read by any account.
fetch_all() {
  [ "$#" -gt 0 ] || return 0
  section "${1%%"$rp_unit"*}"
  if has curl; then
    rp_left=$#
    for rp_get in "$@"; do
      split_get "$rp_get"
      shift
      rp_left=$((rp_left - 1))
      rp_next=
      if [ "$rp_left" -gt 0 ]; then rp_next="\\n$rp_nonce ${1%%"$rp_unit"*}\\n"; fi
      printf 'write-out = "%s"\n' "\\n$rp_nonce $rp_name.code\\n%{http_code} %{errormsg}$rp_next"
      [ -z "$rp_known" ] || curl_knows
      printf '%s\n' silent show-error include 'noproxy = "*"' 'header = "Connection: close"' "max-time = $rp_wait"
      [ "$rp_host" = - ] || curl_says header "Host: $rp_host"
      [ "$rp_proxy" = no ] || printf 'haproxy-protocol\n'
      each_with curl_with
      case $rp_url in
        unix:*)
          rp_path=${rp_url#unix:}
          curl_says unix-socket "${rp_path%%:*}"
          curl_says url "http://localhost${rp_path#*:}"
          ;;
        https://*)
          split_https
          # HTTP/2 has no status line that says more, and no connection that ends with an answer.
          printf 'http1.1\n'
          [ "$rp_trusts" = no ] || printf 'insecure\n'
          if [ "$rp_host" = - ]; then
            curl_says url "$rp_url"
          else
            # The name that the certificate must have, and that nginx picks the site by, is not the place we connect to.
            curl_says connect-to "${rp_host%:*}:$rp_port:$rp_at:$rp_port"
            curl_says url "https://${rp_host%:*}:$rp_port$rp_path"
          fi
          ;;
        *) curl_says url "$rp_url" ;;
      esac
      if [ "$rp_left" -gt 0 ]; then printf 'next\n'; fi
    done | $rp_asks curl -q -K - 2>/dev/null
    return 0
  fi
  rp_first=yes
  for rp_get in "$@"; do
    split_get "$rp_get"
    [ "$rp_first" = yes ] || section "$rp_name"
    rp_first=no
    set -- -q -S -O - -T "$rp_wait" -t 1 --no-proxy --header='Connection: close'
    [ "$rp_host" = - ] || set -- "$@" --header="Host: $rp_host"
    case $rp_url in
      https://*)
        # It has no word for another name than that in the URL: without SNI nginx picks the certificate of its first
        # site, and the site by the header.
        split_https
        [ "$rp_trusts" = no ] || set -- "$@" --no-check-certificate
        ;;
    esac
    if [ -n "$rp_with" ]; then
      wget_file
      set -- --config=/dev/fd/5 "$@"
    fi
    # wget prints the head on standard error, indented, and has no other word for the status
    wget "$@" "$rp_url" 2>&1 | sed 's/^  \([A-Za-z]\)/\1/'
    section "$rp_name.code"
    printf 'wget'
  done
}
# curl_says OPTION VALUE: a line of curl's config. What stands in quotes there is escaped; a newline would
# be a line of its own. Without a program where there is nothing to escape: a host is asked often, and each costs.
curl_says() {
  rp_value=$2
  case $rp_value in
    *'"'* | *\\* | *'
'*) rp_value=$(printf '%s' "$rp_value" | tr -d '\n' | sed 's/[\\"]/\\&/g') ;;
  esac
  printf '%s = "%s"\n' "$1" "$rp_value"
}
# each_with COMMAND: COMMAND with the kind and the value of each word that the GET is asked with.
each_with() {
  [ -n "$rp_with" ] || return 0
  rp_command=$1
  IFS=$rp_unit
  set -f
  # shellcheck disable=SC2086
  set -- $rp_with
  set +f
  unset IFS
  for rp_word in "$@"; do "$rp_command" "${rp_word%% *}" "${rp_word#* }"; done
}
curl_with() {
  case $1 in
    header) curl_says header "$2" ;;
    ca) curl_says cacert "$2" ;;
    insecure) printf 'insecure\n' ;;
  esac
}
# wget_file: what it is asked with on 5. It takes a file and no pipe; one without a name is left behind by nobody.
wget_file() {
  exec 5>&-
  rp_file=$(mktemp 2>/dev/null) || return 0
  exec 5<>"$rp_file"
  rm -f "$rp_file"
  each_with wget_with >&5
}
# A line is taken as it stands.
wget_with() {
  case $1 in
    header) printf 'header = %s\n' "$2" ;;
    ca) printf 'ca_certificate = %s\n' "$2" ;;
    insecure) printf 'check_certificate = off\n' ;;
  esac
}
curl_knows() {
  printf '%s\n' "$rp_known" | while read -r rp_at rp_address; do
    case $rp_address in *:*) rp_address="[$rp_address]" ;; esac
    printf 'connect-to = "%s::%s:"\n' "$rp_at" "$rp_address"
  done
}
split_get() {
  rp_name=${1%%"$rp_unit"*} rp_rest=${1#*"$rp_unit"}
  rp_wait=${rp_rest%%"$rp_unit"*} rp_rest=${rp_rest#*"$rp_unit"}
  rp_host=${rp_rest%%"$rp_unit"*} rp_rest=${rp_rest#*"$rp_unit"}
  rp_url=${rp_rest%%"$rp_unit"*} rp_with=
  case $rp_rest in *"$rp_unit"*) rp_with=${rp_rest#*"$rp_unit"} ;; esac
  rp_proxy=no
  case $rp_url in proxy+*) rp_url=${rp_url#proxy+} rp_proxy=yes ;; esac
}

# split_https: $rp_url as its host ($rp_at), $rp_port and $rp_path. $rp_trusts where the connection never leaves this host:
# whoever could pretend to be it there could as well take its key, so its certificate is not verified.
split_https() {
  rp_path=${rp_url#https://}
  rp_at=${rp_path%%[/?]*}
  rp_path=${rp_path#"$rp_at"}
  rp_port=443
  case $rp_at in
    \[*\]:*) rp_port=${rp_at##*:} rp_at=${rp_at%:*} ;;
    \[*\]) ;;
    *:*) rp_port=${rp_at##*:} rp_at=${rp_at%:*} ;;
  esac
  rp_trusts=no
  # Who names the certificates that he trusts wants it verified there, too.
  case $rp_at,$rp_unit$rp_with in
    *"$rp_unit"'ca '*) ;;
    127.* | localhost,* | '[::1]',*) rp_trusts=yes ;;
  esac
}

# Where /proc is mounted with hidepid=2 the processes of others are not there for us: then root is asked for each. Pid 1
# is root's, and always there.
rp_hidden=no
if [ -d /proc/self ] && [ ! -d /proc/1 ]; then rp_hidden=yes; fi

# is_hidden PID: whether root must be asked for it, should it be there at all.
is_hidden() { [ "$rp_hidden" = yes ] && [ ! -d "/proc/$1" ]; }

# of_proc PID FILE [SIGN]: what /proc says of it, as text; what ends its words is a blank, or SIGN.
of_proc() {
  if is_hidden "$1"; then as_root cat "/proc/$1/$2"; else cat "/proc/$1/$2"; fi 2>/dev/null | tr '\0' "${3:- }"
}

# read_title PID: the start of its command line into $rp_title, as far as there is one.
read_title() {
  rp_title=
  if is_hidden "$1"; then
    rp_title=$(of_proc "$1" cmdline)
  else
    # It has no newline at its end, which read reports as a failure after it has read it.
    { IFS= read -r rp_title <"/proc/$1/cmdline" || :; } 2>/dev/null
  fi
}

# read_owner PID: whose process it is, as a uid, into $rp_owner; nothing where it is gone.
read_owner() {
  rp_owner=
  if is_hidden "$1"; then
    rp_owner=$(of_proc "$1" status | awk '$1 == "Uid:" { print $3; exit }')
  else
    {
      while read -r rp_key rp_real rp_effective rp_rest; do
        case $rp_key in Uid:) rp_owner=$rp_effective && break ;; esac
      done <"/proc/$1/status"
    } 2>/dev/null
  fi
}

# children_of PID: their pids, into $rp_children. Where the kernel lists them it may leave one out while another ends,
# which is then still in the list: two that are equal are whole (Linux, filesystems/proc.rst, 3.7).
children_of() {
  if is_hidden "$1"; then
    rp_children=$(of_proc "$1" "task/$1/children")
    return 0
  fi
  rp_list=/proc/$1/task/$1/children
  rp_before=none
  for rp_try in 1 2 3 4 5 6 7 8; do
    [ -e "$rp_list" ] || break
    rp_children=
    # It has no newline at its end, as a title has none.
    { IFS= read -r rp_children <"$rp_list" || :; } 2>/dev/null
    [ "$rp_children" != "$rp_before" ] || return 0
    rp_before=$rp_children
  done
  rp_children=$(cat /proc/[0-9]*/stat 2>/dev/null | awk -v parent="$1" '{
    pid = $1; sub(/^.*\) /, ""); split($0, f, " ")
    if (f[2] == parent) print pid }')
}

# connections HEXPORTS: "STATE SIDE PORT PEER UID INODE ADDRESS" for each TCP socket with one of the ports (" 1F90 1F91 ")
# on either end; SIDE is here where the port is ours, there where it is the peer's; ADDRESS is ours. Read from /proc, since
# ss may not be installed. $rp_apart is /proc's folder of a network that is apart from this host's and talks for it, too.
rp_apart=''
connections() {
  rp_ports=$1
  shift
  for rp_file in /proc/net/tcp /proc/net/tcp6 ${rp_apart:+"$rp_apart/tcp" "$rp_apart/tcp6"}; do
    [ ! -r "$rp_file" ] || set -- "$@" "$rp_file"
  done
  awk -v ports="$rp_ports" -v apart="$rp_apart" '
    $1 ~ /^[0-9]+:$/ {
      n = split($2, l, ":"); m = split($3, r, ":")
      # What listens in a container is known by the ports that this host has for it.
      is_apart = apart != "" && index(FILENAME, apart) == 1
      if (index(ports, " " l[n] " ") && !is_apart) print $4, "here", l[n], r[1], $8, $10, l[1]
      if (index(ports, " " r[m] " ") && $4 != "0A") print $4, "there", r[m], r[1], $8, $10, l[1]
    }' "$@" 2>/dev/null || :
}

# listeners HEXPORTS: "HEXPORT PID ADDRESS" (as /proc writes it, or ss) for the processes that listen on the ports, as far as we may look: the open
# files of another user's process are not ours to list, so where a port has no pid here root is asked with ss.
# $rp_sockets is what connections said of these ports, where that was asked already.
listeners() {
  rp_sockets=${rp_sockets:-$(connections "$1")}
  case $rp_sockets in *'0A here '*) ;; *) return 0 ;; esac
  rp_found=$(find_listeners)
  printf '%s\n' "$rp_found"
  for rp_port in $1; do
    case $rp_sockets in *"0A here $rp_port "*) ;; *) continue ;; esac
    case $rp_found in *"$rp_port "*) continue ;; esac
    if [ "$rp_uid" != 0 ] && [ "$sudo" = yes ] && has ss; then
      as_root ss -Hltnp 2>/dev/null | awk -v port="$((0x$rp_port))" -v hex="$rp_port" '
        { n = split($4, a, ":") }
        a[n] == port {
          address = substr($4, 1, length($4) - length(a[n]) - 1)
          while (match($0, /pid=[0-9]+,fd=/)) { print hex, substr($0, RSTART + 4, RLENGTH - 8), address; $0 = substr($0, RSTART + RLENGTH) }
        }'
    fi
  done
}
# described: "HEXPORT PID ADDRESS" lines in; HEXPORT, PID[,PARENT…], ADDRESS, PROGRAM, START-TIME, CGROUPS and the parent's
# name out, with unit separators between: a process chooses its names and that of its cgroup, and those may hold blanks,
# newlines and what ends a field here.
described() {
  while read -r rp_port rp_pid rp_address; do
    if is_hidden "$rp_pid"; then
      rp_groups=$(of_proc "$rp_pid" cgroup | { read_fields && printf '%s' "$rp_groups"; })
    else
      read_fields <"/proc/$rp_pid/cgroup"
    fi
    read_program "$rp_pid"
    case $rp_program in
      *"$rp_unit"* | *'
'*) rp_program='?' ;;
    esac
    read_chain "$rp_pid"
    read_start "$rp_pid"
    read_parent_name
    printf '%s\n' "$rp_port$rp_unit$rp_chain$rp_unit$rp_address$rp_unit$rp_program$rp_unit$rp_start$rp_unit$rp_groups$rp_unit$rp_parent_name"
  done 2>/dev/null
}
# read_chain PID: it and its parents, as far as they have any below the first process, into $rp_chain.
read_chain() {
  rp_chain=$1 rp_parent=$1
  while stat_of "$rp_parent" && [ -n "$rp_stat" ]; do
    # behind the state
    rp_stat=${rp_stat#? }
    rp_parent=${rp_stat%% *}
    [ "$rp_parent" -gt 1 ] || break
    rp_chain=$rp_chain,$rp_parent
  done
}
# read_parent_name: how the nearest parent in $rp_chain calls itself, into $rp_parent_name.
read_parent_name() {
  rp_parent_name=
  case $rp_chain in *,*) ;; *) return 0 ;; esac
  rp_parent=${rp_chain#*,}
  { IFS= read -r rp_parent_name <"/proc/${rp_parent%%,*}/comm" || :; } 2>/dev/null
  case $rp_parent_name in *"$rp_unit"*) rp_parent_name='?' ;; esac
}
# read_fields: the lines of a cgroup file on one, each with a `|` behind it, into $rp_groups. A name with a `|` in it would
# be two.
read_fields() {
  rp_groups=
  while IFS= read -r rp_group; do
    case $rp_group in *'|'* | *"$rp_unit"*) rp_group='?' ;; esac
    rp_groups="$rp_groups$rp_group|"
  done
  return 0
}
# stat_of PID: what stands behind its name in /proc/PID/stat, into $rp_stat. The name may hold anything, a newline, too.
stat_of() {
  rp_stat=
  if is_hidden "$1"; then
    rp_stat=$(of_proc "$1" stat)
  else
    { while IFS= read -r rp_line; do rp_stat=$rp_line; done <"/proc/$1/stat"; } 2>/dev/null
  fi
  rp_stat=${rp_stat##*) }
}
# read_start PID: its start in clock ticks after boot, which tells it from a later process of the same number, into
# $rp_start; nothing of what is not there.
read_start() {
  stat_of "$1"
  # shellcheck disable=SC2086
  set -- $rp_stat
  rp_start=${20-}
}
# read_program PID: its program into $rp_program, or `?`; that of another user's process is shown to root alone.
read_program() {
  rp_program=$(readlink "/proc/$1/exe" 2>/dev/null) || rp_program=$(as_root readlink "/proc/$1/exe" 2>/dev/null) ||
    rp_program='?'
  with_script read_script "$1"
}
# read_script PID FILE…: of an interpreter that was started with one of the files, that file into $rp_program. What the
# kernel runs by itself is known by itself, and a process's arguments are its own to write.
read_script() {
  rp_interpreter=$1
  shift
  [ "$#" -gt 0 ] || return 0
  for rp_script in "$@"; do
    case $rp_program in "$rp_script" | "$rp_script (deleted)") return 0 ;; esac
  done
  rp_cwd=$(readlink "/proc/$rp_interpreter/cwd" 2>/dev/null || as_root readlink "/proc/$rp_interpreter/cwd" 2>/dev/null)
  rp_words=$(of_proc "$rp_interpreter" cmdline '\n')
  for rp_script in "$@"; do
    ! is_machine_code "$rp_script" || continue
    if printf '%s\n' "$rp_words" | is_among_words "$rp_cwd" "$rp_script"; then
      rp_program=$rp_script
      return 0
    fi
  done
}
# is_among_words FOLDER FILE: whether a word on standard input is the file, by its name or from the folder.
is_among_words() {
  while IFS= read -r rp_word; do
    [ "$rp_word" != "$2" ] || return 0
    # shellcheck disable=SC3013 # dash, bash, ksh and busybox all know it
    case $rp_word in '' | -* | /*) ;; *) [ ! "$1/$rp_word" -ef "$2" ] || return 0 ;; esac
  done
  return 1
}
# is_machine_code FILE: also what cannot be looked at.
is_machine_code() {
  [ -f "$1" ] && [ -r "$1" ] || return 0
  rp_line=
  { IFS= read -r rp_line <"$1" || :; } 2>/dev/null
  case $rp_line in ?ELF*) return 0 ;; *) return 1 ;; esac
}
find_listeners() {
  # shellcheck disable=SC2012
  {
    printf '%s\n' "$rp_sockets"
    # A newline in the name of an open file is none of the list's (GNU; busybox makes it a `?`).
    QUOTING_STYLE=escape ls -l /proc/[0-9]*/fd 2>/dev/null
  } | awk '
    $1 == "0A" && $2 == "here" { port[$6] = $3; address[$6] = $7; next }
    /^\/proc\/[0-9]+\/fd:$/ { split($0, p, "/"); pid = p[3]; next }
    # A file may be called socket:[1], too; its path is one.
    /^[^>]* [0-9]+ -> socket:\[[0-9]+\]$/ {
      inode = $NF
      gsub(/[^0-9]/, "", inode)
      if (inode in port && !seen[pid, inode]++) print port[inode], pid, address[inode]
    }'
}

# supervised KIND NAME: what keeps a colour running says of it now (section supervisor), and where it has given up what it
# said last (section last_words). Nothing of a plain process.
supervised() {
  case $1 in
    systemd)
      section supervisor
      rp_shown=$(systemctl show -p ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts "$2" 2>/dev/null)
      printf '%s' "$rp_shown"
      case $rp_shown in *ActiveState=failed*) ;; *) return 0 ;; esac
      section last_words
      rp_said=$(journalctl -u "$2" -n 5 -o cat -q --no-pager 2>/dev/null)
      [ -n "$rp_said" ] || rp_said=$(as_root journalctl -u "$2" -n 5 -o cat -q --no-pager 2>/dev/null)
      printf '%s' "$rp_said"
      ;;
    docker)
      section supervisor
      rp_shown=$(docker inspect --type container -f 'Status={{.State.Status}}
ExitCode={{.State.ExitCode}}
Error={{.State.Error}}
StartedAt={{.State.StartedAt}}' "$2" 2>/dev/null)
      printf '%s' "$rp_shown"
      case $rp_shown in Status=exited* | Status=dead*) ;; *) return 0 ;; esac
      section last_words
      docker logs --tail 5 "$2" 2>&1
      ;;
  esac
}

# compose_of FILE PROJECT WORDS…: docker compose on that file; `-` for the project that compose derives itself.
compose_of() {
  rp_file=$1 rp_project=$2
  shift 2
  if [ "$rp_project" = - ]; then
    docker compose -f "$rp_file" "$@"
  else
    docker compose -p "$rp_project" -f "$rp_file" "$@"
  fi
}
# container_of FILE PROJECT SERVICE: the container of a compose service; nothing where there is none yet. Compose
# prints its warnings on standard error, so that is not part of the name.
container_of() { compose_of "$1" "$2" ps -a -q "$3" 2>/dev/null; }

# Where locks, their numbers and records of steps are kept: a place for each account, in memory, it cannot be full of logs.
# /run is root's alone, so a folder below /run/rollback-prod proves that root let that account do this: what is in it counts
# for everybody. Where there is none, the folders that everybody may write to: there counts what is our own or root's, and
# what somebody else made there is nothing to us.
rp_proven=/run/rollback-prod
rp_bases='/run/lock /dev/shm /tmp /var/tmp'

# is_ours FOLDER: never through a link, which its maker could turn to another folder at any moment.
is_ours() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ]; }

# is_proven: whether nobody but root can have made what is below /run.
is_proven() { [ "$rp_uid" = 0 ] || [ ! -w /run ]; }

# each_place COMMAND WORD…: COMMAND with each place that counts behind its words.
each_place() {
  if is_proven; then
    for rp_place in "$rp_proven"/*; do
      if [ -d "$rp_place" ] && [ ! -L "$rp_place" ]; then "$@" "$rp_place"; fi
    done
  fi
  for rp_base in $rp_bases; do
    for rp_place in "$rp_base/rollback-prod-$rp_uid" "$rp_base/rollback-prod-$rp_uid".*; do
      if is_ours "$rp_place"; then "$@" "$rp_place"; fi
    done
    rp_place=$rp_base/rollback-prod-0
    if [ "$rp_uid" != 0 ] && [ -d "$rp_place" ] && [ ! -L "$rp_place" ] && [ "$(stat -c %u "$rp_place" 2>/dev/null)" = 0 ]; then
      "$@" "$rp_place"
    fi
  done
}

# each_own_place COMMAND WORD…: COMMAND with one place of ours after the other, until it succeeds. Makes them where we may.
each_own_place() {
  # sshd says who logged in, and spares us a program.
  rp_account=${LOGNAME:-$(id -un)}
  case $rp_account in
    '' | [.-]* | *[!A-Za-z0-9._@-]*) ;;
    *)
      rp_own=$rp_proven/$rp_account
      is_proven && { is_ours "$rp_own" || prove; } && "$@" "$rp_own" && return 0
      ;;
  esac
  for rp_base in $rp_bases; do
    rp_own=$rp_base/rollback-prod-$rp_uid
    # Where somebody was there before us, a name that nobody can have thought of.
    is_ours "$rp_own" || make_place "$rp_own" || beside_it
    { is_ours "$rp_own" || make_place "$rp_own"; } && "$@" "$rp_own" && return 0
    rmdir "$rp_own" 2>/dev/null
  done
  return 1
}
beside_it() {
  for rp_beside in "$rp_own".*; do
    if is_ours "$rp_beside"; then
      rp_own=$rp_beside
      return 0
    fi
  done
  rp_own=$rp_own.$$
}
# read_lasting: a place of ours that a boot does not take away, into $rp_lasting. Where somebody was there before us, another.
read_lasting() {
  rp_own=/var/tmp/rollback-prod-$rp_uid
  is_ours "$rp_own" || make_place "$rp_own" || beside_it
  rp_lasting=$rp_own
  is_ours "$rp_own" || make_place "$rp_own"
}
make_place() {
  umask 022
  rp_made=0
  mkdir "$1" 2>/dev/null || rp_made=1
  umask 077
  return "$rp_made"
}
prove() {
  [ ! -e "$rp_own" ] || return 1
  if [ "$rp_uid" = 0 ]; then
    [ -d "$rp_proven" ] || make_place "$rp_proven"
    make_place "$rp_own"
  elif [ "$sudo" = yes ]; then
    sudo -n install -d -o "$rp_account" -m 0755 "$rp_own" >/dev/null 2>&1
  fi
  is_ours "$rp_own"
}

# records SERVICE: every record of a step of ours, wherever there was room for it.
records() { each_place records_in "$1"; }
records_in() {
  is_ours "$2" || return 0
  for rp_record in "$2/$1.jobs"/*; do
    [ ! -d "$rp_record" ] || printf '%s\n' "$rp_record"
  done
}

# A lock is a folder PLACE/GROUP.NUMBER.PID.lock with the files holder (a line), beat (its age is the lock's) and, once
# nobody else was there, held. No two have ever the same name, so whoever removes one has removed the one that he judged.
# GROUP is the word of a config, whose services have one lock. PLACE/GROUP.number is the number of the last one that was held there, and stays.

# latest GROUP: the number of the last lock that was held here, into $rp_latest, and whose it was, into $rp_latest_of; 0 where
# there was none.
latest() {
  rp_latest=0 rp_latest_of=
  each_place read_latest "$1"
}
read_latest() {
  [ -f "$2/$1.number" ] || return 0
  rp_read='' rp_of=
  {
    IFS= read -r rp_read
    IFS= read -r rp_of
  } 2>/dev/null <"$2/$1.number"
  if is_number "$rp_read" && [ "$rp_read" -gt "$rp_latest" ]; then rp_latest=$rp_read rp_latest_of=$rp_of; fi
}
# is_number WORD: one that every shell can count with.
is_number() {
  case $1 in '' | 0* | *[!0-9]* | ????????????????*) return 1 ;; esac
}

# each_lock GROUP COMMAND: COMMAND with each lock that counts, its number in $rp_number.
each_lock() { each_place locks_in "$1" "$2"; }
locks_in() {
  for rp_lock in "$3/$1".*.lock; do
    rp_number=${rp_lock%.*.lock}
    rp_number=${rp_number##*.}
    rp_pid=${rp_lock%.lock}
    # Of this group, and not of one whose name begins with it.
    [ "$rp_lock" = "$3/$1.$rp_number.${rp_pid##*.}.lock" ] || continue
    if is_number "$rp_number" && [ -d "$rp_lock" ] && [ ! -L "$rp_lock" ]; then "$2" "$rp_lock"; fi
  done
}

# read_holder LOCK: its holder's line into $rp_holder.
read_holder() {
  rp_holder=
  if [ -f "$1/holder" ]; then { IFS= read -r rp_holder <"$1/holder"; } 2>/dev/null; fi
  [ -n "$rp_holder" ] || rp_holder='somebody who left no name'
}

# is_stale LOCK: whether its last beat is so long ago that nobody can be there. Five beats were missed.
is_stale() {
  rp_beat=$(stat -c %Y "$1/beat" 2>/dev/null || stat -c %Y "$1" 2>/dev/null) || return 0
  rp_age=$(($(date +%s) - rp_beat))
  # A live beat is never of the future: that clock was set.
  [ "$rp_age" -ge 10 ] || [ "$rp_age" -le -10 ]
}

# fenced GROUP HOLDER NUMBER: whether this run must change nothing here any more, and why. A run whose line hung, or that
# slept, finds here that another had the lock since, also when that has ended. A run that has no number, because there was
# no room for a lock, goes on while nobody else holds one. Nothing is asked of a change that is under no lock.
fenced() {
  [ -n "$2" ] || return 1
  latest "$1"
  # A line that broke while its lock was taken again has left a later one, of this very run.
  if [ -n "$3" ] && { [ "$rp_latest" = "$3" ] || [ "$rp_latest_of" = "$2" ]; }; then return 1; fi
  rp_other='' rp_mine=$2 rp_given=$3
  each_lock "$1" read_other
  if [ -z "$3" ] && [ -z "$rp_other" ]; then return 1; fi
  section why
  if [ -n "$rp_other" ]; then
    printf '%s' "$rp_other"
  elif [ "$rp_latest" = 0 ]; then
    printf 'the host has forgotten our lock'
  else
    printf 'one that has ended meanwhile (lock %s; ours was %s)' "$rp_latest" "$3"
  fi
}
read_other() {
  [ -e "$1/held" ] && [ "$rp_number" -ge "$rp_latest" ] || return 0
  read_holder "$1"
  [ "$rp_holder" != "$rp_mine" ] || return 0
  # Whoever has a number knows by it; for who has none a lock that somebody left is no reason.
  if [ -n "$rp_given" ] || ! is_stale "$1"; then rp_other=$rp_holder; fi
}

# is_at_work RECORD: whether its step has not ended, and there is somebody who could end it: $rp_pid.
is_at_work() {
  [ ! -e "$1/status" ] || return 1
  rp_pid=
  [ ! -r "$1/pid" ] || IFS= read -r rp_pid <"$1/pid"
  [ -n "$rp_pid" ] && kill -0 "$rp_pid" 2>/dev/null
}

# has_room FOLDER: makes it, and a file `out` in it. A disk that is full makes folders, and files without content.
has_room() {
  mkdir "${1%/*}" 2>/dev/null
  is_ours "${1%/*}" || return 1
  [ ! -e "$1" ] || rm -rf "$1" 2>/dev/null
  if mkdir "$1" 2>/dev/null && { printf x >"$1/out"; } 2>/dev/null && [ -s "$1/out" ]; then return 0; fi
  rm -rf "$1" 2>/dev/null
  rmdir "${1%/*}" 2>/dev/null
  return 1
}

# detached SERVICE STEP FUNCTION ARGUMENT…: runs FUNCTION so that it outlives this line, this laptop and this shell: its
# output and its status go into a record, no terminal, no signal of ours. Waits for it and repeats both. Where there is
# room for a record nowhere, it does without: that a step is done matters more than that it can be told again.
detached() {
  rp_service=$1 rp_step=$2
  shift 2
  if each_own_place job_folder; then
    (
      trap '' HUP INT TERM PIPE
      "$@" >"$rp_job/out" 2>&1 </dev/null
      printf '%s\n' "$?" >"$rp_job/status.new"
      mv -f "$rp_job/status.new" "$rp_job/status"
    ) </dev/null >/dev/null 2>&1 &
    rp_child=$!
    printf '%s\n' "$rp_child" >"$rp_job/pid"
    wait "$rp_child"
    job_result "$rp_job"
    return
  fi
  trap '' HUP INT TERM PIPE
  "$@" 2>&1 </dev/null
}

job_folder() {
  rp_job=$1/$rp_service.jobs/$rp_step
  has_room "$rp_job"
}

# job_result FOLDER: what a finished job printed and ended with; 91 where it left no status (killed). It is kept where
# it could not be told: whoever asks for the job then still finds it.
job_result() {
  rp_told=yes
  [ ! -r "$1/out" ] || cat "$1/out" || rp_told=no
  rp_status=91
  [ ! -r "$1/status" ] || IFS= read -r rp_status <"$1/status"
  [ "$rp_told" = no ] || rm -rf "$1"
  # The folder of all steps goes with the last of them.
  rmdir "${1%/*}" 2>/dev/null
  return "$rp_status"
}
