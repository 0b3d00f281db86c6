# What is true on this host now, in one round trip. Only asks; leaves nothing behind.
# Arguments: KEY=VALUE, repeated where there are several (see command.rs). Always ends with 0: a question
# that cannot be answered is a section that says so.
nginx_file='' dump='' green_marks='' service=''
for arg in "$@"; do
  case $arg in
    sudo=*) rp_sudo=${arg#*=} ;;
    service=*) service=${arg#*=} ;;
    nginx_file=*) nginx_file=${arg#*=} ;;
    dump=*) dump=${arg#*=} ;;
    mark=*) green_marks="$green_marks${arg#*=}
" ;;
  esac
done

# A change that an earlier run began here and that still runs is joined: what it leaves is what is true.
base=$(state_folder) || base=/tmp
rounds=0
records "$service" | while IFS= read -r job; do
  rp_pid=
  while [ ! -e "$job/status" ] && [ "$rounds" -lt 200 ]; do
    if [ -r "$job/pid" ]; then IFS= read -r rp_pid <"$job/pid"; fi
    if [ -z "$rp_pid" ] || ! kill -0 "$rp_pid" 2>/dev/null; then break; fi
    pause 0.1
    rounds=$((rounds + 1))
  done
  section job
  printf '%s\n' "${job##*/}"
  if [ -r "$job/status" ]; then
    cat "$job/status"
  elif [ -n "$rp_pid" ] && kill -0 "$rp_pid" 2>/dev/null; then
    printf 'runs\n'
  fi
done

resolved=
[ -z "$nginx_file" ] || resolved=$(readlink -f "$nginx_file")

# nginx_facts: what nginx itself says it has loaded, and whether it runs.
nginx_facts() {
  [ -n "$nginx_file" ] || return 0
  section nginx.dump
  status=0
  dumped=$(run_words "$dump" 2>&1) || status=$?
  # Only what is needed of a dump that may be a megabyte: files, paths of logs and pid, mentions of green; the pid file
  # once more on the last line.
  kept=$(printf '%s\n' "$dumped" | awk -v marks="$green_marks" '
    BEGIN { n = split(marks, mark, "\n") }
    /^# configuration file / { file = $4; sub(/:$/, "", file); print; next }
    /^nginx: / || /^[0-9\/]+ [0-9:]+ \[(emerg|alert|crit)\]/ || /^(sudo|sh|\/bin\/sh):/ { print }
    /^[[:space:]]*(pid|error_log|access_log|upstream)[[:space:]]/ { print }
    /^[[:space:]]*pid[[:space:]]/ && pidfile == "" { pidfile = $2; sub(/;.*/, "", pidfile) }
    /^[[:space:]]*#/ { next }
    { for (i = 1; i <= n; i++) if (mark[i] != "" && index($0, mark[i])) { print "mention " file " " $0; next } }
    END { print "pidfile " pidfile }')
  pidfile=${kept##*pidfile }
  printf '%s\n' "${kept%pidfile *}"
  section nginx.dump.status
  printf '%s' "$status"
  if [ -z "$pidfile" ]; then
    pidfile=$(nginx -V 2>&1 | sed -n 's/.*--pid-path=\([^ ]*\).*/\1/p')
  fi
  section nginx.pidfile
  printf '%s' "$pidfile"
  master=$(nginx_master "$pidfile")
  section nginx.master
  printf '%s' "$master"
  if [ -n "$master" ]; then
    section nginx.workers
    nginx_workers "$master"
  fi
}

local_facts() {
  section clock
  date +%s.%N
  section who
  # sshd says who logged in, and spares us a program.
  printf '%s\n%s\n%s\n' "$rp_uid" "${LOGNAME:-$(id -un)}" "${SHELL:-}"
  section system
  if ! { IFS= read -r kernel </proc/sys/kernel/ostype && IFS= read -r release </proc/sys/kernel/osrelease; } 2>/dev/null; then
    kernel=$(uname -s) release=$(uname -r)
  fi
  printf '%s %s' "$kernel" "$release"
  section tools
  for tool in nginx curl wget gzip sudo systemctl journalctl docker unshare nice timeout ss cat cp tee sync ln mv rm; do
    command -v "$tool" || :
  done
  section space
  df -Pk "$base" "${nginx_file%/*}/" 2>/dev/null

  # The rights that the switch needs for its file; see switch.sh, which uses exactly these words, and none where the
  # file and its folder are ours.
  file_rights() {
    if [ -z "$resolved" ] || { [ -w "${resolved%/*}" ] && [ -O "$resolved" ]; }; then return 0; fi
    new=${resolved%/*}/.${resolved##*/}.rollback-prod
    old=$new-before
    printf '%s\n' "cp -a $resolved $new" "tee $new" "sync $new" "ln -f $resolved $old" "mv -f $new $resolved" \
      "mv -f $old $resolved" "sync ${resolved%/*}" "rm -f $new $old"
    if [ ! -r "$resolved" ]; then printf '%s\n' "cat $resolved" "cat $new"; fi
  }
  # lacks WORD…: whether sudo does not allow it; `sudo -l` is not asked again where it allows nothing at all.
  lacks() { [ "$allows" = nothing ] || ! sudo -n -l "$@" >/dev/null 2>&1; }

  section rights
  if [ "$rp_uid" = 0 ] || [ "$rp_sudo" = no ]; then
    printf 'all'
  else
    allows=something
    granted=$(sudo -n -l 2>&1) || allows=nothing
    case $allows,$granted in
      something,*'(ALL) NOPASSWD: ALL'* | something,*'(ALL : ALL) NOPASSWD: ALL'* | something,*'(root) NOPASSWD: ALL'*)
        printf 'all\n'
        # Where nothing is excepted also a shell, which spares switch.sh a dozen sudos.
        case $granted in *!*) ;; *) printf 'shell\n' ;; esac
        ;;
      something,* | *'password is required'* | *'may not run sudo'* | *'not in the sudoers'* | *'not allowed'*)
        for arg in "$@"; do
          case $arg in
            right=*)
              words=${arg#*=}
              IFS=$rp_unit
              set -f
              # shellcheck disable=SC2086
              ! lacks $words || printf 'missing %s\n' "$words"
              set +f
              unset IFS
              ;;
          esac
        done
        file_rights | while read -r words; do
          # shellcheck disable=SC2086
          ! lacks $words || printf 'missing %s\n' "$words"
        done
        ;;
      *) printf 'refused: %s' "$granted" ;;
    esac
  fi

  section lock
  lock=$base/rollback-prod-$service.lock
  if [ -d "$lock" ]; then
    cat "$lock/holder" 2>/dev/null || printf 'no holder'
    section lock.age
    beat=$(stat -c %Y "$lock/beat" 2>/dev/null || stat -c %Y "$lock" 2>/dev/null) &&
      printf '%s' $(($(date +%s) - beat))
  fi

  if [ -n "$nginx_file" ]; then
    section nginx.link
    printf '%s' "$resolved"
    ask nginx.stat stat -c '%U:%G %a %h' "$resolved"
    ask nginx.text read_whole "$resolved"
  fi

  section addresses
  # Where there is no if_inet6 awk ends there, with all of the other said.
  awk 'FILENAME != "/proc/net/fib_trie" { print $1; next }
    /32 host LOCAL/ && !seen[last]++ { print last }
    { last = $2 }' /proc/net/fib_trie /proc/net/if_inet6 2>/dev/null

  # colour_facts NAME KIND UNIT-OR-CONTAINER COMPOSE-FILE PROJECT LOG; `-` where there is none.
  colour_facts() {
    unset IFS
    set +f
    case $2 in
      systemd) units="$units $3" ;;
      docker) container_facts "$1" "$3" ;;
      compose)
        if ! container=$(container_of "$4" "$5" "$3"); then
          ask "$1.container" compose_of "$4" "$5" ps -a -q "$3"
        elif [ -n "$container" ]; then
          container_facts "$1" "$container"
        else
          # Compose makes it when it is first started.
          ask "$1.container" echo 'false 0 none none null'
        fi
        ;;
    esac
    section "$1.log"
    if [ "$6" != - ]; then
      if [ -r "$6" ]; then printf 'readable %s' "$(wc -c <"$6")"; else printf 'not readable'; fi
    fi
  }
  container_facts() {
    ask "$1.container" docker inspect --type container -f \
      '{{.State.Running}} {{.State.Pid}} {{.HostConfig.RestartPolicy.Name}} {{.Id}} {{json .NetworkSettings.Ports}}' \
      "$2"
  }

  ports='' units=''
  for arg in "$@"; do
    case $arg in
      ports=*) ports=${arg#*=} ;;
      colour=*)
        IFS=$rp_unit
        set -f
        # shellcheck disable=SC2086
        colour_facts ${arg#*=}
        ;;
    esac
  done
  # shellcheck disable=SC2086 # the names of one or two units
  [ -z "$units" ] || ask units systemctl show -p LoadState,ActiveState,SubState,ControlGroup $units
  if [ -n "$ports" ]; then
    section sockets
    rp_sockets=$(connections "$ports")
    printf '%s\n' "$rp_sockets"
    section listeners
    listeners "$ports" | described
  fi
}

# asked WHOM ARGUMENT…: what is asked over HTTP of those arguments whose name begins with a word of WHOM.
asked() {
  rp_whom=" $1 "
  shift
  for arg in "$@"; do
    shift
    case $arg in
      get=*)
        rp_name=${arg#get=}
        rp_name=${rp_name%%"$rp_unit"*}
        case $rp_whom in *" ${rp_name%%.*} "*) set -- "$@" "${arg#get=}" ;; esac
        ;;
    esac
  done
  fetch_all "$@"
}

# Green is asked at the same time as blue and the probe, and both beside everything else, each behind a pipe of its own
# that holds its answer back: a green that hangs, which is why we are here, must not hold up the rest.
asked green "$@" | {
  asked 'blue probe' "$@" | {
    nginx_facts | {
      local_facts "$@"
      cat
    }
    head -c "$rp_plenty"
  }
  head -c "$rp_plenty"
}
