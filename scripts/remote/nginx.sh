# nginx, on this host or in a container of it; sent behind lib.sh.
# Takes: nginx_container
# In a container its commands run there, and what it has loaded, says and is connected to is that container's. A file of it is
# changed where it is mounted from, which is this host.
# A log of nginx is a path on this host; `container:PATH` is one that is nowhere else, `container:` what the container prints.

# What stands between the texts of several files that are changed as one; nouns/joined.rs says the same.
rp_between="#$rp_unit next file $rp_unit"
rp_next="
$rp_between
"
# tell_all FILE…: what decides in them, as one text.
tell_all() {
  says "$1" || return 1
  shift
  for rp_file in "$@"; do
    printf '%s' "$rp_next"
    says "$rp_file" || return 1
  done
}

# itself COMMAND…: as the account that we are.
itself() { "$@"; }

# find_container: what keeps it into $rp_engine, as whom that is asked into $rp_keeper, its first process as this host counts into
# $rp_first (0 where it does not run), and its mounts into $rp_mounts, lines of SOURCE and DESTINATION with a unit separator
# between. Fails where nobody here knows it.
rp_engine='' rp_keeper=itself rp_first='' rp_mounts=''
find_container() {
  rp_found='' rp_apart=''
  for rp_try in docker podman; do
    has "$rp_try" || continue
    for rp_as in itself as_root; do
      if [ "$rp_as" = as_root ] && { [ "$rp_uid" = 0 ] || [ "$sudo" = no ]; }; then continue; fi
      rp_inspected=$("$rp_as" "$rp_try" inspect --type container -f "{{.State.Pid}} {{.HostConfig.NetworkMode}}
{{range .Mounts}}{{.Source}}$rp_unit{{.Destination}}
{{end}}" "$nginx_container" 2>/dev/null) || continue
      # Two that know one of that name: it is the one that runs.
      case $rp_found,$rp_inspected in ?*,'0 '*) continue ;; esac
      rp_engine=$rp_try rp_keeper=$rp_as rp_found=$rp_inspected
      case $rp_inspected in '0 '*) ;; *) break 2 ;; esac
    done
  done
  [ -n "$rp_found" ] || return 1
  rp_first=${rp_found%% *} rp_mounts=${rp_found#*
}
  rp_network=${rp_found%%
*}
  # Of its connections this host sees what it has itself, too, and no more.
  case $rp_network in *' host') ;; *) rp_apart=/proc/$rp_first/net ;; esac
}
in_engine() { "$rp_keeper" "$rp_engine" "$@"; }
in_container() { in_engine exec "$nginx_container" "$@"; }

# nginx_words WORDS EXTRA…: one of nginx's commands, where nginx is.
nginx_words() { if [ -n "$nginx_container" ]; then words_by in_container "$@"; else run_words "$@"; fi; }

# mounted_from PATH: of a path in the container, where it lies on this host into $rp_place; $rp_alone is yes where that file
# alone is mounted. Fails where it lies nowhere else than in the container.
mounted_from() {
  rp_place='' rp_alone=no rp_longest=
  each_mount nearer "$1"
  [ -n "$rp_place" ]
}
nearer() {
  [ "${#3}" -gt "${#rp_longest}" ] || return 0
  case $1 in
    "$3") rp_place=$2 rp_alone=yes rp_longest=$3 ;;
    "${3%/}"/*) rp_place=${2%/}/${1#"${3%/}"/} rp_alone=no rp_longest=$3 ;;
  esac
}
# seen_as PATH: of a path on this host, where the container has it into $rp_inside. Fails where it has it nowhere.
seen_as() {
  rp_inside=
  each_mount shown "$1"
  [ -n "$rp_inside" ]
}
shown() {
  rp_source=$(readlink -f "$2" 2>/dev/null) || rp_source=$2
  case $1 in
    "$rp_source" | "$2") rp_inside=$3 ;;
    "${rp_source%/}"/*) rp_inside=${3%/}/${1#"${rp_source%/}"/} ;;
  esac
}
# each_mount COMMAND WORD: COMMAND with WORD, the source and the destination of each mount that has a source.
each_mount() {
  rp_command=$1 rp_word=$2
  IFS='
'
  set -f
  # shellcheck disable=SC2086
  set -- $rp_mounts
  set +f
  unset IFS
  for rp_mount in "$@"; do
    case $rp_mount in /*) "$rp_command" "$rp_word" "${rp_mount%%"$rp_unit"*}" "${rp_mount#*"$rp_unit"}" ;; esac
  done
}

# look_up NAME…: where the container finds them into $rp_known, as lines of NAME and address: who is in a network of an engine
# has his name there only. fetch_all in lib.sh goes there.
look_up() {
  [ "$#" -gt 0 ] || return 0
  # shellcheck disable=SC2016 # run there
  rp_known=$(in_container sh -c 'for name do
    getent hosts "$name" | { read -r address rest && echo "$name $address"; }
  done' rollback-prod "$@" 2>/dev/null)
}

# fetch GET…: the same from where nginx asks. A container of our own account may have a network that this host does not reach:
# there a server is asked (`direct` in the name) by a curl of this host in that network, and everybody else from here.
fetch() {
  if [ -z "$rp_apart" ] || [ "$rp_uid" = 0 ] || [ "$rp_keeper,$rp_engine" != itself,podman ]; then
    fetch_all "$@"
    return 0
  fi
  for rp_one in "$@"; do
    case ${rp_one%%"$rp_unit"*} in
      *direct*) rp_asks="nsenter -t $rp_first -U -n --preserve-credentials" ;;
      *) rp_asks= ;;
    esac
    fetch_all "$rp_one"
  done
  rp_asks=
}

# read_end LOG: where it ends now into $rp_size: its bytes; of what a container prints, which are not counted, the seconds
# since 1970.
read_end() {
  case $1 in
    container:) rp_size=$(date +%s) ;;
    container:*)
      rp_size=
      rp_stat=$(in_container stat -L -c '%s %F' "${1#container:}" 2>/dev/null)
      case $rp_stat in *' regular'*) rp_size=${rp_stat%% *} ;; esac
      ;;
    *) read_size "$1" ;;
  esac
}
# tail_of BYTES FILE: `tail -c BYTES` of a file of nginx, also where only root may read. Of nothing else than a file: a
# FIFO, or /dev/zero, would hold up the switch.
tail_of() {
  case $2 in
    container:)
      # Both of what it prints, and of that no more than could be wanted: all of it may be gigabytes.
      in_engine logs --tail 2000 "$nginx_container" 2>&1 | tail -c "$1"
      return 0
      ;;
    container:*)
      in_container tail -c "$1" "${2#container:}"
      return 0
      ;;
  esac 2>/dev/null
  if [ -r "$2" ]; then
    if [ -f "$2" ]; then tail -c "$1" "$2"; fi
  elif [ -f "$2" ] || as_root test -f "$2"; then
    as_root tail -c "$1" "$2"
  fi 2>/dev/null
}

# is_master PID PIDFILE: whether it is nginx's, and not a process that only calls itself so, which anybody can make: it
# is root's, ours, or his whose the pid file is.
is_master() {
  read_owner "$1"
  case $rp_owner in
    '') return 1 ;;
    0 | "$rp_uid") ;;
    *) [ "$rp_owner" = "$(stat -L -c %u "$2" 2>/dev/null)" ] || return 1 ;;
  esac
  # Only now: the title of a process is read from its memory, and a stranger can hold up whoever reads that.
  read_title "$1"
  case $rp_title in *nginx*) ;; *) return 1 ;; esac
}

# read_contained_master: the same of the container. It is the first process there, or comes from it: what else calls itself
# so on the host is none of it.
read_contained_master() {
  # shellcheck disable=SC2086 # pids
  set -- ${rp_first#0}
  rp_steps=0
  while [ "$#" -gt 0 ] && [ "$rp_steps" -lt 300 ]; do
    rp_steps=$((rp_steps + 1))
    read_title "$1"
    case $rp_title in
      'nginx: master process'*)
        rp_master=$1
        return 0
        ;;
    esac
    children_of "$1"
    shift
    # shellcheck disable=SC2086
    set -- "$@" $rp_children
  done
}
# read_master PIDFILE: the pid of the running master into $rp_master, or nothing. Where neither we nor root for us may read
# the file, it is the only master that there is.
read_master() {
  rp_master='' rp_pid=
  if [ -n "$nginx_container" ]; then
    read_contained_master
    return 0
  fi
  if [ -r "$1" ]; then
    { IFS= read -r rp_pid <"$1" || [ -n "$rp_pid" ]; } || return 0
  elif [ "$sudo" = yes ] && [ "$rp_uid" != 0 ] && [ -n "$1" ]; then
    rp_pid=$(as_root cat "$1" 2>/dev/null)
  fi
  case $rp_pid in
    '') ;;
    *[!0-9]*) return 0 ;;
    *)
      if is_master "$rp_pid" "$1"; then rp_master=$rp_pid; fi
      return 0
      ;;
  esac
  # There is one, only not for us.
  [ -e "$1" ] || return 0
  rp_masters=
  for rp_pid in /proc/[0-9]*; do
    rp_pid=${rp_pid#/proc/}
    rp_name=
    { IFS= read -r rp_name <"/proc/$rp_pid/comm" || :; } 2>/dev/null
    case $rp_name in nginx*) ;; *) continue ;; esac
    is_master "$rp_pid" "$1" || continue
    case $rp_title in *'nginx: master process'*) rp_masters="$rp_masters $rp_pid" ;; esac
  done
  # shellcheck disable=SC2086 # pids
  set -- $rp_masters
  [ "$#" != 1 ] || rp_master=$1
}

# read_workers MASTER: those of its children that are one: who accepts into $rp_open, who shuts down into $rp_closing.
read_workers() {
  rp_open='' rp_closing=
  children_of "$1"
  for rp_pid in $rp_children; do
    read_title "$rp_pid"
    case $rp_title in
      *'shutting down'*) rp_closing="$rp_closing $rp_pid" ;;
      *'cache manager'* | *'cache loader'*) ;;
      *nginx*) rp_open="$rp_open $rp_pid" ;;
    esac
  done
}
# tell_nginx PIDFILE: the sections nginx.master, and nginx.workers with a line for each: PID open|closing.
tell_nginx() {
  read_master "$1"
  section nginx.master
  printf '%s' "$rp_master"
  [ -n "$rp_master" ] || return 0
  read_workers "$rp_master"
  section nginx.workers
  for rp_pid in $rp_open; do printf '%s open\n' "$rp_pid"; done
  for rp_pid in $rp_closing; do printf '%s closing\n' "$rp_pid"; done
}

# read_emerg LOG…: the newest line of each log that nginx itself calls [emerg] into $rp_emerg, so that a new one is seen. A
# reload that nginx accepts and then does not apply says so nowhere else. Only where the level stands: a request for
# `/[emerg]` that failed is logged with these letters, too, and anybody can send it.
read_emerg() {
  rp_emerg=
  for rp_log in "$@"; do
    rp_tail=$(tail_of 65536 "$rp_log")
    case $rp_tail in
      *'[emerg]'*)
        rp_line=$(printf '%s\n' "$rp_tail" |
          awk '/^[0-9\/]+ [0-9:]+ \[emerg\] / { last = substr($0, 1, 1024) } END { if (last != "") print last }')
        [ -z "$rp_line" ] || rp_emerg="$rp_emerg$rp_line
"
        ;;
    esac
  done
}
