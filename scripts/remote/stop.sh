# Stops green: its unit or container, or the process that listens on its port, and only that one: pid, start time
# and program are compared with what was seen before, in the same breath as the signal. Then its ports are watched.
# Takes: service run holder number kind name file project=- pid started exe words status grace=20 ports watch=1 keep
# pid, started and exe are a process's; without exe pid leads a session that this run began, and all of it ends; grace and
# watch are seconds; words and status are a supervisor's commands; ports (` 1F91 `) must stay closed that long; keep
# (` 1F90 `) are those of the other colour.
# Sections: stop (what was said), shared (who serves both), left (who listens now). Exit: 0 stopped; 40 it is not the
#   process that was seen; 41 it could not be stopped; 42 something listens on its port again; 43 whoever would be stopped
#   serves the other colour too: nothing was stopped; 91, 93 as in switch.sh

# Its state stands behind its name, its start further on; of what is not there neither is.
is_gone() {
  stat_of "$pid"
  case $rp_stat in
    '' | Z*)
      # A group's number is given to nobody else while somebody is in it.
      [ -n "$exe" ] || ! kill -0 "-$pid" 2>/dev/null
      return
      ;;
  esac
  # shellcheck disable=SC2086
  [ "$(set -- $rp_stat && printf '%s' "${20-}")" != "$started" ]
}
signal() {
  if [ -z "$exe" ]; then
    kill "-$1" "-$pid"
  elif [ -O "/proc/$pid" ] || [ "$rp_uid" = 0 ]; then
    kill "-$1" "$pid"
  else
    as_root kill "-$1" "$pid"
  fi
}
# wait_until SECONDS COMMAND…
wait_until() {
  rp_until=$(($(date +%s) + $1))
  shift
  while ! "$@"; do
    [ "$(date +%s)" -lt "$rp_until" ] || return 1
    pause 0.05
  done
}

stop_process() {
  if is_gone; then
    printf 'it was gone already\n'
    return 0
  fi
  rp_program=
  [ -z "$exe" ] || read_program "$pid"
  case $rp_program in
    "$exe" | "$exe (deleted)") ;;
    *)
      if is_gone; then return 0; fi
      return 40
      ;;
  esac
  signal TERM || return 41
  printf 'SIGTERM to %s\n' "$pid"
  if wait_until "$grace" is_gone; then return 0; fi
  printf 'still there after %s s\n' "$grace"
  signal KILL || return 41
  printf 'SIGKILL to %s\n' "$pid"
  wait_until 5 is_gone || return 41
}

unit_is_down() {
  case $(systemctl show -p ActiveState "$name" 2>/dev/null) in
    ActiveState=inactive | ActiveState=failed) return 0 ;;
    *) return 1 ;;
  esac
}
stop_unit() {
  # systemd waits as long as the unit says; our own bound is the config's, so it is not asked to wait
  as_root systemctl --no-block stop "$name" || return 41
  if wait_until "$grace" unit_is_down; then return 0; fi
  printf 'still there after %s s: SIGKILL\n' "$grace"
  as_root systemctl kill -s SIGKILL "$name" || return 41
  wait_until 5 unit_is_down || return 41
}

stop_by_command() {
  exec 4>/dev/null
  rp_stopped=0
  run_bounded "$grace" "$words" || rp_stopped=$?
  # One that ended a moment before cannot be stopped, and need not be.
  if wait_until 5 is_said_to_be_down; then return 0; fi
  printf 'its command ended with %s, and its supervisor does not say that it is down\n' "$rp_stopped"
  return 41
}
# What says 4 cannot say; 124, 126 and 127 are of a command that did not end, or is none.
is_said_to_be_down() {
  rp_said=0
  run_bounded 5 "$status" || rp_said=$?
  case $rp_said in 0 | 4 | 124 | 126 | 127) return 1 ;; *) return 0 ;; esac
}

# What would end with it, as a part of control groups: the unit's own group, also where the process is what its unit
# lives by; the container's number.
group_of_all() {
  case $kind in
    systemd) group_of_unit "$name" ;;
    docker) docker inspect --type container -f '{{.Id}}' "$name" 2>/dev/null ;;
    compose) container_of "$file" "$project" "$name" ;;
    process)
      while IFS= read -r rp_line; do
        rp_group=${rp_line#*:*:}
        case $rp_group in *.service) ;; *) continue ;; esac
        if [ "$(systemctl show -p MainPID "${rp_group##*/}" 2>/dev/null)" = "MainPID=$pid" ]; then
          printf '%s' "$rp_group"
          break
        fi
      done <"/proc/$pid/cgroup" 2>/dev/null
      ;;
  esac
}
group_of_unit() {
  rp_group=$(systemctl show -p ControlGroup "$1" 2>/dev/null)
  printf '%s' "${rp_group#ControlGroup=}"
}

# say_who_serves_both: those of whom would be stopped that serve the other colour too. What was true when the plan was
# made may not be any more.
say_who_serves_both() {
  [ -n "$keep" ] || return 0
  rp_all=$(group_of_all)
  listeners "$keep" | described | while IFS=$rp_unit read -r rp_port rp_chain rp_address rp_exe rp_started rp_rest; do
    rp_p=${rp_chain%%,*}
    # The first process keeps the sockets of units that are started by a connection, and is never stopped.
    [ "$rp_p" != 1 ] || continue
    rp_ends=no
    if [ "$kind" = process ]; then
      case ",$rp_chain," in *",$pid,"*) rp_ends=yes ;; esac
    fi
    if [ -n "$rp_all" ]; then
      case $rp_rest in *"$rp_all|"* | *"$rp_all/"* | *"$rp_all.scope"*) rp_ends=yes ;; esac
    fi
    [ "$rp_ends" = no ] || printf 'pid %s %s would end with it and serves port %s\n' "$rp_p" "$rp_exe" "$((0x$rp_port))"
  done
  case $kind in docker | compose) ;; *) return 0 ;; esac
  [ -n "$rp_all" ] || return 0
  # A published port belongs to docker's proxy, which is outside of the container.
  rp_published=$(docker inspect --type container -f '{{json .NetworkSettings.Ports}}' "$rp_all" 2>/dev/null)
  for rp_port in $keep; do
    case $rp_published in *"\"HostPort\":\"$((0x$rp_port))\""*) printf 'its container serves port %s too\n' "$((0x$rp_port))" ;; esac
  done
}

still_listening() { connections "$ports" | awk '$1 == "0A" && $2 == "here" { found = 1 } END { exit !found }'; }

stop() {
  section shared
  both=$(say_who_serves_both)
  printf '%s' "$both"
  [ -z "$both" ] || return 43
  section stop
  case $kind in
    systemd) stop_unit ;;
    docker) docker stop -t "$grace" "$name" || return 41 ;;
    compose) compose_of "$file" "$project" stop -t "$grace" "$name" || return 41 ;;
    process) stop_process ;;
    command) stop_by_command ;;
  esac || return
  [ -n "$ports" ] || return 0
  # A supervisor would start it again: the port must close and stay closed.
  rp_until=$(($(date +%s) + watch + 1))
  while [ "$(date +%s)" -lt "$rp_until" ]; do
    pause 0.1
    if still_listening; then
      # docker's proxy and the kernel need a moment after the stop; only a port that stays is somebody's
      pause 0.4
      if still_listening; then
        section left
        listeners "$ports" | while read -r port rp_p rp_address; do
          stat_of "$rp_p"
          rp_parent=${rp_stat#* } rp_parent=${rp_parent%% *}
          read_program "$rp_p"
          printf 'port %s: pid %s %s, started by pid %s %s\n' "$((0x$port))" "$rp_p" \
            "$rp_program" "$rp_parent" "$(of_proc "$rp_parent" cmdline | head -c 1024)"
        done
        return 42
      fi
    fi
  done
}

if fenced "$group" "$holder" "$number"; then return 93; fi
detached "$service" "$run.stop" stop
