# What is true on this host now, in one round trip. Only asks; leaves nothing behind.
# Takes: service nginx_file form=content blue green blue_file green_file dump mark... name... right... colour... status...
# Takes: evidence... ports get... lookup... find=no also... release... needed=no
# dump and right are words; a colour is NAME KIND UNIT-OR-CONTAINER COMPOSE-FILE PROJECT LOG, with `-` where there is none;
# a get is what fetch_all in lib.sh takes; a mark is a server of green, a name its name; a status is NAME and the command of
# its supervisor; a release is COLOUR PORTS FILE EXE, for where to look for it; blue and green are as the config names their files; a lookup is a name that only nginx's container may know;
# also are files that are changed with the first; find=yes tells all that nginx has loaded, and the files beside the one that is named;
# needed=yes tells all that sudo must allow, whether it does or not.
# Always ends with 0: a question that cannot be answered is a section that says so.
green_marks=
add_mark() {
  green_marks="$green_marks$1
"
}
with_mark each add_mark

# A change that an earlier run began here and that still runs is joined: what it leaves is what is true.
rounds=0
records "$service" | while IFS= read -r job; do
  waits=yes
  # The words of a change or a hook may take their time, and traffic waits for none of them.
  case ${job##*/} in *.change-* | *.undo-* | *.hook-*) waits=no ;; esac
  while [ "$waits" = yes ] && [ "$rounds" -lt 200 ] && is_at_work "$job"; do
    pause 0.1
    rounds=$((rounds + 1))
  done
  section job
  printf '%s\n' "${job##*/}"
  if [ -r "$job/status" ]; then
    cat "$job/status"
  elif is_at_work "$job"; then
    printf 'runs\n'
  fi
done

# The dead men of gradual switches: armed, or what they did.
dead_man_in() {
  rp_record=$1/$service.dead-man
  rp_state=
  if [ -r "$rp_record/state" ]; then IFS= read -r rp_state <"$rp_record/state"; fi
  case $rp_state in '' | 'called off') return 0 ;; esac
  section dead_man
  printf '%s\n' "$rp_state"
  rp_pid=
  [ ! -r "$rp_record/pid" ] || IFS= read -r rp_pid <"$rp_record/pid"
  if [ -n "$rp_pid" ] && [ ! -e "$rp_record/over" ] && { [ "$rp_hidden" = no ] || is_ours "$1"; } && [ ! -d "/proc/$rp_pid" ]; then
    printf 'his process is gone: he does not\n'
  fi
}
each_place dead_man_in

# What only a container can say of the file that it has: where all links lead to there, which file that is, and what would
# make it anew at the next start (docker-nginx, entrypoint/20-envsubst-on-templates.sh).
# shellcheck disable=SC2016 # run there
live_there='live() {
  case $form in
    link) folder=$(readlink -f "${1%/*}/") && echo "${folder%/}/${1##*/}" ;;
    *) readlink -f "$1" ;;
  esac
}
form=$1 file=$2
shift 2
'
# shellcheck disable=SC2016
place_there=$live_there'place=$(live "$file") && { [ -e "$place" ] || [ -L "$place" ]; } || exit 3
echo "place $place"
stat -c "is %d:%i" "$place"
made=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
case $place in
  "$made"/*)
    template=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}${place#"$made"}${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
    [ ! -e "$template" ] || echo "template $template"
    ;;
esac'
# Of the files that it loads those that are ours; what its logs are; which names it knows by itself.
# shellcheck disable=SC2016
loaded_there=$live_there'while [ "$1" != -- ]; do
  [ "$(live "$1")" != "$file" ] || echo "same $1"
  shift
done
shift
for log do
  case $log in /*) ;; *) continue ;; esac
  real=$(readlink -f "$log")
  case $real in
    /dev/* | /proc/* | *pipe:*) echo "log $log -" ;;
    *) [ ! -f "$real" ] || echo "log $log $real" ;;
  esac
done
while read -r line; do echo "host $line"; done </etc/hosts'

# place_in_container: where the file is there ($inside), and where that is mounted from ($resolved).
place_in_container() {
  section nginx.container
  if ! find_container; then
    printf 'none %s\n' "$({ docker inspect --type container "$nginx_container" || podman inspect --type container "$nginx_container"; } 2>&1 >/dev/null)"
    return 1
  fi
  by=
  [ "$rp_keeper" = itself ] || by='sudo '
  printf 'engine %s%s\n' "$by" "$rp_engine"
  if [ "$rp_first" = 0 ]; then
    printf 'stopped\n'
    return 1
  fi
  with_lookup look_up
  [ -z "$rp_known" ] || printf '%s\n' "$rp_known" | sed 's/^/known /'
  inside=$nginx_file
  # In the config stands where the container has it, or where it is mounted from.
  if ! mounted_from "$inside" && seen_as "$(live_place "$inside")"; then inside=$rp_inside; fi
  there=0
  said=$(in_container sh -c "$place_there" rollback-prod "$form" "$inside" 2>&1) || there=$?
  case $there in
    0) ;;
    3)
      printf 'missing %s\n' "$inside"
      return 1
      ;;
    *)
      printf 'closed %s\n' "$said"
      return 1
      ;;
  esac
  same=$(printf '%s\n' "$said" | sed -n 's/^is //p')
  inside=$(printf '%s\n' "$said" | sed -n 's/^place //p')
  printf 'inside %s\n' "$inside"
  printf '%s\n' "$said" | sed -n '/^template /p'
  if ! mounted_from "$inside"; then
    printf 'loose\n'
    return 1
  fi
  resolved=$rp_place alone=$rp_alone
  [ "$alone" = no ] || printf 'alone\n'
  [ "$same" = "$(seen_stat %d:%i "$resolved" 2>/dev/null)" ] || printf 'other %s\n' "$resolved"
  ! mounted_from "$blue_file" || blue_file=$rp_place
  ! mounted_from "$green_file" || green_file=$rp_place
}
# seen_stat FORMAT FILE: also where only root may look: an engine's volumes are in a folder of its own.
seen_stat() { stat -c "$1" "$2" 2>/dev/null || as_root stat -c "$1" "$2"; }

resolved='' alone=no inside='' also_resolved=''
add_also() {
  also_resolved="$also_resolved$(live_place "$1")
"
}
with_also each add_also
# with_files COMMAND WORD…: COMMAND with the file, and those that are changed with it, behind its words.
with_files() {
  IFS='
'
  set -f
  # shellcheck disable=SC2086
  set -- "$@" "$resolved" $also_resolved
  set +f
  unset IFS
  "$@"
}
if [ -n "$nginx_container" ]; then
  place_in_container
elif [ -n "$nginx_file" ]; then
  resolved=$(live_place "$nginx_file")
fi

# nginx_facts: what nginx itself says it has loaded, and whether it runs.
nginx_facts() {
  [ -n "$nginx_file" ] || return 0
  if [ -n "$nginx_container" ] && [ -z "$inside" ]; then return 0; fi
  section nginx.dump
  status=0
  # What it complains of goes before it: it is not asked twice, since a name server that hangs is waited for each time.
  { dumped=$(nginx_words "$dump" 2>&4) || status=$?; } 4>&1
  # Only what is needed of a dump that may be a megabyte: files, paths of logs and pid, mentions of green; the pid file
  # once more on the last line.
  kept=$(printf '%s\n' "$dumped" | awk -v marks="$green_marks" '
    BEGIN { n = split(marks, mark, "\n") }
    /^# configuration file / { file = $4; sub(/:$/, "", file); print; next }
    /^[[:space:]]*(pid|error_log|access_log|upstream)[[:space:]]/ { print }
    /^[[:space:]]*pid[[:space:]]/ && pidfile == "" { pidfile = $2; sub(/;.*/, "", pidfile) }
    /^[[:space:]]*#/ { next }
    { for (i = 1; i <= n; i++) if (mark[i] != "" && index($0, mark[i])) { print "mention " file " " $0; next } }
    END { print "pidfile " pidfile }')
  pidfile=${kept##*pidfile }
  printf '%s\n' "${kept%pidfile *}"
  section nginx.dump.status
  printf '%s' "$status"
  if [ "$find" = yes ]; then
    section nginx.whole
    printf '%s\n' "$dumped" | head -c "$rp_plenty"
  fi
  if [ -n "$nginx_container" ]; then
    loaded_in_container "$kept"
    tell_nginx
    return 0
  fi
  if [ -z "$pidfile" ]; then
    pidfile=$(nginx -V 2>&1 | sed -n 's/.*--pid-path=\([^ ]*\).*/\1/p')
  fi
  section nginx.same
  loaded_as "$nginx_file"
  section nginx.unread
  with_also each is_read
  section nginx.pidfile
  printf '%s' "$pidfile"
  tell_nginx "$pidfile"
}

is_read() { [ -n "$(loaded_as "$1")" ] || printf '%s\n' "$1"; }

# loaded_as FILE: of the files in $kept those that are this one, whatever they are called: a name alone proves nothing.
loaded_as() {
  IFS='
'
  set -f
  for line in $kept; do
    case $line in '# configuration file '*) line=${line#'# configuration file '} line=${line%:} ;; *) continue ;; esac
    # dash, bash, ksh and busybox all know -ef.
    # shellcheck disable=SC3013
    if [ "$form" = link ]; then
      # What is turned is the link, and not what it points at, which may be read by another name.
      if [ "$(live_place "$line")" = "$resolved" ]; then printf '%s\n' "$line"; fi
    elif [ "$line" -ef "$1" ]; then
      printf '%s\n' "$line"
    fi
  done
  set +f
  unset IFS
}

# loaded_in_container KEPT: the same of a container, and its logs as nginx.sh writes them.
loaded_in_container() {
  files=$(printf '%s\n' "$1" | sed -n 's/^# configuration file \(.*\):$/\1/p')
  # The last is nginx's own default, which a dump does not show.
  logs=$(printf '%s\n' "$1" | awk '
    $1 == "error_log" || $1 == "access_log" { path = $2; gsub(/[;"]/, "", path); print (path == "stderr" ? "/dev/stderr" : path) }
    END { print "/var/log/nginx/error.log" }' | sort -u)
  IFS='
'
  set -f
  # shellcheck disable=SC2086
  said=$(in_container sh -c "$loaded_there" rollback-prod "$form" "$inside" $files -- $logs 2>/dev/null)
  set +f
  unset IFS
  section nginx.same
  printf '%s\n' "$said" | sed -n 's/^same //p'
  section nginx.logs
  printf '%s\n' "$said" | sed -n 's/^log //p' | while read -r log real; do
    if [ "$real" = - ]; then
      real=container:
    elif mounted_from "$real"; then
      real=$rp_place
    else
      real=container:$real
    fi
    printf '%s %s\n' "$log" "$real"
  done
  printf '%s\n' "$said" | sed -n 's/^host //p' | with_name kept_names
}

# kept_names NAME…: those that the file of names on standard input has, whoever is there.
kept_names() {
  [ "$#" -gt 0 ] || return 0
  section nginx.names
  names=" $* " awk '{
    sub(/#.*/, "")
    for (i = 2; i <= NF; i++) if (index(ENVIRON["names"], " " $i " ")) print $i
  }'
}

local_facts() {
  section clock
  date +%s.%N
  section who
  # sshd says who logged in, and spares us a program.
  account=${LOGNAME:-$(id -un)}
  printf '%s\n%s\n%s\n' "$rp_uid" "$account" "${SHELL:-}"
  section system
  if ! { IFS= read -r kernel </proc/sys/kernel/ostype && IFS= read -r release </proc/sys/kernel/osrelease; } 2>/dev/null; then
    kernel=$(uname -s) release=$(uname -r)
  fi
  printf '%s %s' "$kernel" "$release"
  section tools
  for tool in nginx curl wget gzip sudo systemctl journalctl docker unshare nice timeout ss cat cp tee sync ln mv rm install; do
    command -v "$tool" || :
  done
  section space
  df -Pk /run "${resolved%/*}/" 2>/dev/null

  # The rights that the switch needs for its file; see switch.sh, which uses exactly these words, and none where the
  # file and its folder are ours.
  file_rights() {
    for place in "$@"; do rights_for_file; done
  }
  rights_for_file() {
    if [ -z "$place" ] || may_replace "$place"; then return 0; fi
    new=${place%/*}/.${place##*/}.rollback-prod
    old=$new-before
    for file in "$blue_file" "$green_file"; do
      if [ -n "$file" ] && [ ! -r "$file" ]; then printf 'cat %s\n' "$file"; fi
    done
    if [ "$form" = link ]; then
      for target in "$blue" "$green" "$(readlink -n "$place")"; do
        printf '%s\n' "ln -sfn $target $new" "ln -sfn $target $old"
      done | sort -u
      printf '%s\n' "mv -f $new $place" "mv -f $old $place" "sync ${place%/*}" "rm -f $new $old"
      return 0
    fi
    if [ "$alone" = yes ]; then
      printf '%s\n' "cp -a $place $old" "tee $place" "sync $place" "rm -f $new $old"
      if [ ! -r "$place" ]; then printf '%s\n' "cat $place"; fi
      return 0
    fi
    printf '%s\n' "cp -a $place $new" "tee $new" "sync $new" "ln -f $place $old" "mv -f $new $place" \
      "mv -f $old $place" "sync ${place%/*}" "rm -f $new $old"
    if [ ! -r "$place" ]; then printf '%s\n' "cat $place" "cat $new"; fi
  }
  # lacks WORD…: whether sudo does not allow it; `sudo -l` is not asked again where it allows nothing at all.
  lacks() { [ "${allows-}" = nothing ] || ! sudo -n -l "$@" >/dev/null 2>&1; }

  right() {
    IFS=$rp_unit
    set -f
    # shellcheck disable=SC2086
    ! lacks $1 || printf 'missing %s\n' "$1"
    set +f
    unset IFS
  }

  told_right() { printf '%s\n' "$1"; }

  section rights
  if [ "$rp_uid" = 0 ] || [ "$sudo" = no ]; then
    printf 'all'
  else
    allows=something
    granted=$(sudo -n -l 2>/dev/null) || {
      allows=nothing
      granted=$(sudo -n -l 2>&1 >/dev/null)
    }
    # Behind the defaults, which have a `!` of their own.
    granted=${granted##*may run the following}
    case $allows,$granted in
      something,*'(ALL) NOPASSWD: ALL'* | something,*'(ALL : ALL) NOPASSWD: ALL'* | something,*'(root) NOPASSWD: ALL'*)
        printf 'all\n'
        # Where nothing is excepted also a shell, which spares switch.sh a dozen sudos.
        case $granted in *!*) ;; *) printf 'shell\n' ;; esac
        ;;
      something,* | *'password is required'* | *'may not run sudo'* | *'not in the sudoers'* | *'not allowed'*)
        with_right each right
        with_files file_rights | while read -r words; do
          # shellcheck disable=SC2086
          ! lacks $words || printf 'missing %s\n' "$words"
        done
        # Better to have, and no more: see each_own_place in lib.sh.
        set -- install -d -o "$account" -m 0755 "$rp_proven/$account"
        ! lacks "$@" || printf 'wanted %s\n' "$*"
        ;;
      *) printf 'refused: %s' "$granted" ;;
    esac
    # The same whatever is allowed, for whoever wants to allow no more than this.
    if [ "$needed" = yes ]; then
      section rights.needed
      with_right each told_right
      with_files file_rights
      printf '%s\n' "install -d -o $account -m 0755 $rp_proven/$account"
    fi
  fi

  section lock
  # Of several the last that was taken; what a later one took the place of holds nothing.
  latest "$group"
  lock='' number=$rp_latest
  newest() {
    if [ "$rp_number" -ge "$number" ]; then number=$rp_number lock=$1; fi
  }
  each_lock "$group" newest
  if [ -n "$lock" ]; then
    read_holder "$lock"
    printf '%s' "$rp_holder"
    section lock.age
    beat=$(stat -c %Y "$lock/beat" 2>/dev/null || stat -c %Y "$lock" 2>/dev/null) &&
      printf '%s' $(($(date +%s) - beat))
  fi
  rolled_back() {
    [ -f "$2/$1.rolled-back" ] || return 0
    section rolled_back
    head -c 16384 "$2/$1.rolled-back"
  }
  [ -z "$nginx_file" ] || each_place rolled_back "$service"

  if [ -n "$resolved" ]; then
    section nginx.link
    printf '%s\n%s' "$resolved" "$also_resolved"
    section nginx.left
    left=${resolved%/*}/.${resolved##*/}.rollback-prod-before
    # No sudo for what any account sees.
    if [ -e "$left" ] || { [ ! -x "${resolved%/*}" ] && as_root test -e "$left" 2>/dev/null; }; then printf '%s' "$left"; fi
    ask nginx.stat seen_stat '%U:%G %a %h' "$resolved"
    with_files ask nginx.text tell_all
    [ -z "$blue_file" ] || ask nginx.blue read_whole "$blue_file"
    [ -z "$green_file" ] || ask nginx.green read_whole "$green_file"
    [ -n "$nginx_container" ] || with_name kept_names </etc/hosts
  fi

  if [ "$find" = yes ] && [ -n "$resolved" ]; then
    told=0
    section nginx.is_link
    if [ -L "$nginx_file" ]; then printf yes; fi
    for file in "${resolved%/*}"/* "${nginx_file%/*}"/*; do
      if [ "$told" = 50 ] || [ ! -f "$file" ]; then continue; fi
      told=$((told + 1))
      section nginx.beside
      printf '%s\n' "$file"
      read_whole "$file" 2>/dev/null | head -c 65536
    done
  fi

  # journalctl reads what we may read of these, and says nothing of the rest.
  section journal
  for journal in /run/log/journal/* /var/log/journal/*; do
    if [ ! -d "$journal" ] || [ -r "$journal/system.journal" ]; then continue; fi
    case ${granted-} in
      *'NOPASSWD: ALL'*) case $granted in *!*) ! lacks journalctl --no-pager || printf 'not readable\n' ;; esac ;;
      *) ! lacks journalctl --no-pager || printf 'not readable\n' ;;
    esac
    break
  done
  section hidden
  printf '%s' "$rp_hidden"

  section addresses
  # Where there is no if_inet6 awk ends there, with all of the other said.
  awk 'FILENAME !~ /fib_trie$/ { print $1; next }
    /32 host LOCAL/ && !seen[last]++ { print last }
    { last = $2 }' /proc/net/fib_trie ${rp_apart:+"$rp_apart/fib_trie"} /proc/net/if_inet6 2>/dev/null

  # log_facts PATH: what a log is, looked at and never opened: what green owns may hold up whoever opens it, and this is
  # before traffic is safe. Where we may not read it, the group that may.
  log_facts() {
    if [ -f "$1" ]; then
      if [ -r "$1" ]; then
        stat -L -c 'readable %s' "$1" 2>/dev/null
      else
        stat -L -c 'not readable %A %G' "$1" 2>/dev/null || printf 'not readable\n'
      fi
    elif rp_seen=$(stat -L -c %F "$1" 2>/dev/null || as_root stat -L -c %F "$1" 2>/dev/null); then
      case $rp_seen in regular*) printf 'not readable\n' ;; *) printf 'no file: %s\n' "$rp_seen" ;; esac
    else
      printf 'missing\n'
    fi
  }

  colour() {
    IFS=$rp_unit
    set -f
    # shellcheck disable=SC2086
    colour_facts $1
  }
  # colour_facts NAME KIND UNIT-OR-CONTAINER COMPOSE-FILE PROJECT LOG FOLDER PROGRAM EXE PORTS; `-` where there is none. Only
  # the colour that traffic is to go to has ports there: it is asked whether it could be started.
  colour_facts() {
    unset IFS
    set +f
    kinds="$kinds $2"
    if [ "${10}" != - ]; then
      to=$1 to_ports=${10}
      to_run=$2$rp_unit$3$rp_unit$4$rp_unit$5$rp_unit$7$rp_unit$8$rp_unit$9
    fi
    case $2 in
      systemd) units="$units $3" ;;
      docker) container_facts "$1" "$3" ;;
      compose)
        if ! container=$(container_of "$4" "$5" "$3"); then
          ask "$1.container" compose_of "$4" "$5" ps -a -q "$3"
        elif [ -n "$container" ]; then
          [ "$1" != "$to" ] || to_run=''
          container_facts "$1" "$container"
        else
          # Compose makes it when it is first started.
          ask "$1.container" echo 'false 0 none none null'
        fi
        ;;
    esac
    section "$1.log"
    [ "$6" = - ] || log_facts "$6"
    if [ "$9" != - ]; then
      section "$1.exe"
      readlink -f "$9"
    fi
  }
  container_facts() {
    ask "$1.container" docker inspect --type container -f \
      '{{.State.Running}} {{.State.Pid}} {{.HostConfig.RestartPolicy.Name}} {{.Id}} {{json .NetworkSettings.Ports}}
{{.Image}} {{.Config.Image}} {{json .Config.Labels}}' "$2"
  }

  release() {
    IFS=$rp_unit
    set -f
    # shellcheck disable=SC2086
    set -- $1
    set +f
    unset IFS
    section "$1.release"
    if [ "$3" != - ]; then
      bytes_of "$3"
    else
      printf '%s\n' "$rp_described" | runs "$2" "$4"
    fi
  }
  # runs PORTS EXE: of whoever listens on the ports, of what `described` says on standard input, the program with its digest,
  # what is kept beside it as the one before, and a commit in a folder of his. Nobody listens: the program that the config names.
  runs() {
    rp_ports=$1 rp_program=$2 rp_pid=''
    while IFS=$rp_unit read -r rp_port rp_chain rp_address rp_seen rp_rest; do
      case $rp_ports in
        *" $rp_port "*)
          rp_pid=${rp_chain%%,*} rp_program=$rp_seen
          break
          ;;
      esac
    done
    case $rp_program in
      '' | - | '?') rp_program='' ;;
      *' (deleted)') digest_of "${rp_program%' (deleted)'}" "/proc/$rp_pid/exe" ;;
      *)
        digest_of "$rp_program" "$rp_program"
        digest_of "$rp_program.old" "$rp_program.old"
        ;;
    esac
    rp_cwd=
    [ -z "$rp_pid" ] || rp_cwd=$(readlink "/proc/$rp_pid/cwd" 2>/dev/null)
    for rp_folder in "$rp_cwd" "${rp_program%/*}" "${rp_program%/*/*}"; do
      [ -n "$rp_folder" ] || continue
      rp_commit=$(commit_in "$rp_folder")
      [ -n "$rp_commit" ] || continue
      printf 'commit %s %s\n' "$rp_commit" "$rp_folder"
      break
    done
  }
  # digest_of NAME FILE
  digest_of() {
    [ -f "$2" ] && rp_sum=$(timeout 2 sha256sum "$2" 2>/dev/null) || return 0
    printf 'program %s %s\n' "${rp_sum%%[!0-9a-f]*}" "$1"
  }
  # asked_of COLOUR WORD…: whether its supervisor says that it runs.
  asked_of() {
    rp_asked=0
    run_bounded 8 "${1#*"$rp_unit"}" 4>/dev/null || rp_asked=$?
    section "${1%%"$rp_unit"*}.status"
    printf '%s' "$rp_asked"
  }

  units='' kinds='' to='' to_ports='' to_run='' rp_sockets='' rp_described=''
  wanted() {
    section evidence
    printf '%s\n' "$1"
    log_facts "$1"
  }
  with_evidence each wanted
  with_colour each colour
  with_status each asked_of
  # shellcheck disable=SC2086 # the names of one or two units
  [ -z "$units" ] || ask units systemctl show -p LoadState,ActiveState,SubState,ControlGroup $units
  if [ -n "$ports" ]; then
    section sockets
    rp_sockets=$(connections "$ports")
    printf '%s\n' "$rp_sockets"
    section listeners
    rp_described=$(listeners "$ports" | described)
    printf '%s\n' "$rp_described"
    # A unit that holds several of them ends with its main process, whoever the others are.
    # shellcheck disable=SC2046 # names of units
    case $kinds in *process*) mains_of $(several_in_one_unit "$rp_described") ;; esac
  fi
  with_release each release
  # Only where it is down.
  for port in $to_ports; do
    case $rp_sockets in *"0A here $port "*) to_run='' ;; esac
  done
  if [ -n "$to_run" ]; then
    section "$to.lacks"
    IFS=$rp_unit
    set -f
    # shellcheck disable=SC2086
    set -- $to_run
    set +f
    unset IFS
    lacks_of "$@"
  fi
}
several_in_one_unit() {
  printf '%s\n' "$1" | awk -F "$rp_unit" '{
    pid = $2; rest = $0
    while (match(rest, /\/[^\/|]+\.service\|/)) {
      unit = substr(rest, RSTART + 1, RLENGTH - 2); rest = substr(rest, RSTART + RLENGTH)
      if (!seen[unit, pid]++ && ++n[unit] == 2) print unit
    }
  }'
}
mains_of() { [ "$#" = 0 ] || ask mains systemctl show -p MainPID "$@"; }

# asked WHOM GET…: those whose name begins with a word of WHOM.
asked() {
  rp_whom=" $1 "
  shift
  for rp_get in "$@"; do
    shift
    rp_name=${rp_get%%"$rp_unit"*}
    case $rp_whom in *" ${rp_name%%.*} "*) set -- "$@" "$rp_get" ;; esac
  done
  case $rp_whom in ' green ') side_by_side "$@" ;; *) fetch "$@" ;; esac
}
# side_by_side GET…: each at the same time as the others. One that gives no answer takes its second, and three take one.
side_by_side() {
  if [ "$#" -le 1 ]; then
    fetch "$@"
    return 0
  fi
  fetch "$1" | {
    shift
    side_by_side "$@"
    head -c "$rp_plenty"
  }
}

# Green is asked at the same time as blue and the probe, and both beside everything else, each behind a pipe of its own
# that holds its answer back: a green that hangs, which is why we are here, must not hold up the rest.
with_get asked green | {
  with_get asked 'blue probe' | {
    nginx_facts | {
      local_facts
      cat
    }
    head -c "$rp_plenty"
  }
  head -c "$rp_plenty"
}
