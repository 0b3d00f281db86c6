# Shared by every script that runs on a host; sent in front of it. POSIX sh only, nothing installed.
# $rp_nonce frames the answer: a line that starts with it opens a section, so that the output of a
# chatty login shell, a motd or a log line can never be taken for an answer.
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
umask 077

# section NAME: what follows, up to the next section, is NAME.
section() { printf '\n%s %s\n' "$rp_nonce" "$1"; }

# ask NAME COMMAND…: a section with both outputs of the command, then one with its status.
ask() {
  section "$1"
  rp_name=$1
  shift
  rp_status=0
  "$@" 2>&1 || rp_status=$?
  section "$rp_name.status"
  printf '%s' "$rp_status"
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
rp_sudo=no
as_root() {
  if [ "$rp_sudo" = yes ] && [ "$rp_uid" != 0 ]; then
    sudo -n "$@"
  else
    "$@"
  fi
}

# A list arrives as one argument with a unit separator between its words.
rp_unit=$(printf '\037')
# run_words WORDS EXTRA…: runs the command that WORDS holds, as root, with EXTRA behind it. Not with our own umask: nginx
# makes its pid file even when it only tests, and one that root alone may read would stay so when it is started.
run_words() {
  rp_words=$1
  shift
  IFS=$rp_unit
  set -f
  # Deliberately unquoted: the unit separator is the only character that splits here.
  # shellcheck disable=SC2086
  set -- $rp_words "$@"
  set +f
  unset IFS
  umask 022
  rp_run=0
  as_root "$@" || rp_run=$?
  umask 077
  return "$rp_run"
}

# read_whole FILE: its bytes, also where only root may read it.
read_whole() { if [ -r "$1" ]; then cat "$1"; else as_root cat "$1"; fi; }

# size_of FILE: its bytes, also where only root may look; nothing where nobody may.
size_of() {
  if [ -r "$1" ]; then wc -c <"$1"; else as_root stat -c %s "$1" 2>/dev/null; fi
}

# tail_of BYTES FILE: `tail -c BYTES`, also where only root may read.
tail_of() { if [ -r "$2" ]; then tail -c "$1" "$2"; else as_root tail -c "$1" "$2"; fi 2>/dev/null; }

# pause SECONDS: a fraction where sleep knows fractions.
pause() { sleep "$1" 2>/dev/null || sleep 1; }

# What is taken of answers that are only compared: a page without end must not fill a memory.
rp_plenty=1048576
# fetch_all GET…: one GET after the other, each on a connection of its own. A GET is NAME, SECONDS, HOST (`-` for none)
# and URL with unit separators between; `unix:/path:/uri` is asked over that socket. Answers with a section NAME (head
# and body) and a section NAME.code. One curl for all of them: its start costs more than an answer.
fetch_all() {
  [ "$#" -gt 0 ] || return 0
  section "${1%%"$rp_unit"*}"
  if has curl; then
    rp_left=$#
    while [ "$rp_left" -gt 0 ]; do
      split_get "$1"
      shift
      rp_left=$((rp_left - 1))
      rp_next=
      if [ "$rp_left" -gt 0 ]; then rp_next="\n$rp_nonce ${1%%"$rp_unit"*}\n"; fi
      set -- "$@" -sS -i -m "$rp_wait" --noproxy '*' -H 'Connection: close' \
        -w "\n$rp_nonce $rp_name.code\n%{http_code} %{errormsg}$rp_next"
      [ "$rp_host" = - ] || set -- "$@" -H "Host: $rp_host"
      case $rp_url in
        unix:*)
          rp_path=${rp_url#unix:}
          set -- "$@" --unix-socket "${rp_path%%:*}" "http://localhost${rp_path#*:}"
          ;;
        *) set -- "$@" "$rp_url" ;;
      esac
      if [ "$rp_left" -gt 0 ]; then set -- "$@" --next; fi
    done
    curl "$@" 2>/dev/null
    return 0
  fi
  rp_first=yes
  for rp_get in "$@"; do
    split_get "$rp_get"
    [ "$rp_first" = yes ] || section "$rp_name"
    rp_first=no
    set -- -q -S -O - -T "$rp_wait" -t 1 --no-proxy --header='Connection: close'
    [ "$rp_host" = - ] || set -- "$@" --header="Host: $rp_host"
    # wget prints the head on standard error, indented, and has no other word for the status
    wget "$@" "$rp_url" 2>&1 | sed 's/^  \([A-Za-z]\)/\1/'
    section "$rp_name.code"
    printf 'wget'
  done
}
split_get() {
  rp_name=${1%%"$rp_unit"*} rp_rest=${1#*"$rp_unit"}
  rp_wait=${rp_rest%%"$rp_unit"*} rp_rest=${rp_rest#*"$rp_unit"}
  rp_host=${rp_rest%%"$rp_unit"*} rp_url=${rp_rest#*"$rp_unit"}
}

# read_title PID: the start of its command line into $rp_title, as far as there is one.
read_title() {
  rp_title=
  # It has no newline at its end, which read reports as a failure after it has read it.
  { IFS= read -r rp_title <"/proc/$1/cmdline" || :; } 2>/dev/null
}

# nginx_master PIDFILE: the pid of the running master, or nothing. Where we may not read the file, it is the only master
# that there is.
nginx_master() {
  if [ -e "$1" ] && [ ! -r "$1" ]; then
    # The brackets keep grep from finding itself.
    rp_masters=$(grep -l 'nginx: [m]aster process' /proc/[0-9]*/cmdline 2>/dev/null)
    case $rp_masters in
      *'
'*) ;;
      /proc/*/cmdline)
        rp_masters=${rp_masters#/proc/}
        printf '%s' "${rp_masters%/cmdline}"
        ;;
    esac
    return 0
  fi
  [ -r "$1" ] || return 0
  IFS= read -r rp_pid <"$1" || [ -n "$rp_pid" ] || return 0
  read_title "$rp_pid"
  case $rp_title in *nginx*) printf '%s' "$rp_pid" ;; esac
}

# children_of PID: their pids, into $rp_children. Where the kernel lists them it may leave one out while another ends,
# which is then still in the list: two that are equal are whole (Linux, filesystems/proc.rst, 3.7).
children_of() {
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

# nginx_workers MASTER: a line for each of its children that is one: PID open|closing.
nginx_workers() {
  children_of "$1"
  for rp_pid in $rp_children; do
    read_title "$rp_pid"
    case $rp_title in
      *'shutting down'*) printf '%s closing\n' "$rp_pid" ;;
      *'cache manager'* | *'cache loader'*) ;;
      *nginx*) printf '%s open\n' "$rp_pid" ;;
    esac
  done
}

# last_emerg LOG…: the newest [emerg] line of each log, so that a new one is seen. A reload that nginx
# accepts and then does not apply says so nowhere else.
last_emerg() {
  for rp_log in "$@"; do
    rp_tail=$(tail_of 65536 "$rp_log")
    case $rp_tail in *'[emerg]'*) printf '%s\n' "$rp_tail" | awk 'index($0, "[emerg]") { last = $0 } END { print last }' ;; esac
  done
}

# connections HEXPORTS: "STATE SIDE PORT PEER UID INODE" for each TCP socket with one of the ports (" 1F90 1F91 ")
# on either end; SIDE is here where the port is ours, there where it is the peer's. Read from /proc, since ss may
# not be installed.
connections() {
  # Where there is no tcp6 awk ends there, with all of tcp said.
  awk -v ports="$1" '
    $1 ~ /^[0-9]+:$/ {
      n = split($2, l, ":"); m = split($3, r, ":")
      if (index(ports, " " l[n] " ")) print $4, "here", l[n], r[1], $8, $10
      if (index(ports, " " r[m] " ") && $4 != "0A") print $4, "there", r[m], r[1], $8, $10
    }' /proc/net/tcp /proc/net/tcp6 2>/dev/null || :
}

# listeners HEXPORTS: "HEXPORT PID" for the processes that listen on the ports, as far as we may look: the open
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
    if [ "$rp_uid" != 0 ] && [ "$rp_sudo" = yes ] && has ss; then
      as_root ss -Hltnp 2>/dev/null | awk -v port="$((0x$rp_port))" -v hex="$rp_port" '
        { n = split($4, a, ":") }
        a[n] == port {
          while (match($0, /pid=[0-9]+/)) { print hex, substr($0, RSTART + 4, RLENGTH - 4); $0 = substr($0, RSTART + RLENGTH) }
        }'
    fi
  done
}
# described: "HEXPORT PID" lines in, "HEXPORT PID PROGRAM START-TIME CGROUP" lines out.
described() {
  while read -r rp_port rp_pid; do
    rp_groups=
    while IFS= read -r rp_group; do rp_groups="$rp_groups$rp_group|"; done <"/proc/$rp_pid/cgroup"
    printf '%s %s %s %s %s\n' "$rp_port" "$rp_pid" "$(exe_of "$rp_pid")" "$(started_at "$rp_pid")" "$rp_groups"
  done 2>/dev/null
}
# started_at PID: its start in clock ticks after boot, which tells it from a later process of the same number.
started_at() {
  IFS= read -r rp_stat <"/proc/$1/stat" || return 0
  # behind the name, which may hold anything, it is the 20th word
  # shellcheck disable=SC2086
  set -- ${rp_stat##*) }
  printf '%s' "${20}"
}
# exe_of PID: its program, or `?`; that of another user's process is shown to root alone.
exe_of() { readlink "/proc/$1/exe" 2>/dev/null || as_root readlink "/proc/$1/exe" 2>/dev/null || printf '?'; }
find_listeners() {
  # shellcheck disable=SC2012
  {
    printf '%s\n' "$rp_sockets"
    ls -l /proc/[0-9]*/fd 2>/dev/null
  } | awk '
    $1 == "0A" && $2 == "here" { port[$6] = $3; next }
    /^\/proc\/[0-9]+\/fd:$/ { split($0, p, "/"); pid = p[3]; next }
    match($0, /socket:\[[0-9]+\]$/) {
      inode = substr($0, RSTART + 8, RLENGTH - 9)
      if (inode in port && !seen[pid, port[inode]]++) print port[inode], pid
    }'
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

# Folders on this host for locks and records: memory first, it cannot be full of logs.
rp_bases='/run/lock /dev/shm /tmp /var/tmp'

# state_folder: the first of them that we may write.
state_folder() {
  for rp_base in $rp_bases; do
    if [ -d "$rp_base" ] && [ -w "$rp_base" ]; then
      printf '%s' "$rp_base"
      return 0
    fi
  done
  return 1
}

# records SERVICE: every record of a step of ours, wherever there was room for it.
records() {
  for rp_base in $rp_bases; do
    for rp_record in "$rp_base/rollback-prod-$1-jobs-$rp_uid"/*; do
      [ ! -d "$rp_record" ] || printf '%s\n' "$rp_record"
    done
  done
}

# read_holder LOCK: its holder's line into $rp_holder; nothing where there is none.
read_holder() {
  rp_holder=
  { IFS= read -r rp_holder <"$1/holder"; } 2>/dev/null
}

# lock_is_anothers SERVICE HOLDER: whether another run has taken the service's lock here; its holder in $rp_holder. A run
# that slept, or whose line hung, must not go on where somebody else is at work.
lock_is_anothers() {
  read_holder "$(state_folder)/rollback-prod-$1.lock"
  [ -n "$rp_holder" ] && [ "$rp_holder" != "$2" ]
}

# fenced SERVICE HOLDER: says whose the lock is now, where it is not ours.
fenced() {
  lock_is_anothers "$1" "$2" || return 1
  section why
  printf '%s' "$rp_holder"
}

# has_room FOLDER: makes it, and a file `out` in it. A disk that is full makes folders, and files without content.
has_room() {
  [ ! -e "$1" ] || rm -rf "$1" 2>/dev/null
  if mkdir -p "$1" 2>/dev/null && { printf x >"$1/out"; } 2>/dev/null && [ -s "$1/out" ]; then return 0; fi
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
  for rp_base in $rp_bases; do
    rp_job=$rp_base/rollback-prod-$rp_service-jobs-$rp_uid/$rp_step
    if has_room "$rp_job"; then
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
  done
  trap '' HUP INT TERM PIPE
  "$@" 2>&1 </dev/null
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
