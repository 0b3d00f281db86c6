# Stops green: its unit or container, or the process that listens on its port, and only that one: pid, start time
# and program are compared with what was seen before, in the same breath as the signal. Then its ports are watched.
# Arguments: sudo= service= run= holder= kind= name= file= project= pid= started= exe= (a process) grace= (seconds)
#   ports=" 1F91 " watch= (seconds that the ports must stay closed)
# Sections: stop (what was said), left (who listens now). Exit: 0 stopped; 40 it is not the process that was seen;
#   41 it could not be stopped; 42 something listens on its port again; 91, 93 as in switch.sh
service='' run='' holder='' kind='' name='' file='' project=- pid='' started='' exe='' grace=20 ports='' watch=1
for arg in "$@"; do
  case $arg in
    sudo=*) rp_sudo=${arg#*=} ;;
    service=*) service=${arg#*=} ;;
    run=*) run=${arg#*=} ;;
    holder=*) holder=${arg#*=} ;;
    kind=*) kind=${arg#*=} ;;
    name=*) name=${arg#*=} ;;
    file=*) file=${arg#*=} ;;
    project=*) project=${arg#*=} ;;
    pid=*) pid=${arg#*=} ;;
    started=*) started=${arg#*=} ;;
    exe=*) exe=${arg#*=} ;;
    grace=*) grace=${arg#*=} ;;
    ports=*) ports=${arg#*=} ;;
    watch=*) watch=${arg#*=} ;;
  esac
done

is_gone() { [ ! -d "/proc/$pid" ] || [ "$(started_at "$pid")" != "$started" ] || [ "$(zombie)" = Z ]; }
zombie() { sed 's/^.*) //' "/proc/$pid/stat" 2>/dev/null | awk '{ print $1 }'; }
signal() { if [ -O "/proc/$pid" ] || [ "$rp_uid" = 0 ]; then kill "-$1" "$pid"; else as_root kill "-$1" "$pid"; fi; }
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
  case $(exe_of "$pid") in
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

still_listening() { connections "$ports" | awk '$1 == "0A" && $2 == "here" { found = 1 } END { exit !found }'; }

stop() {
  section stop
  case $kind in
    systemd) stop_unit ;;
    docker) docker stop -t "$grace" "$name" || return 41 ;;
    compose) compose_of "$file" "$project" stop -t "$grace" "$name" || return 41 ;;
    process) stop_process ;;
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
        listeners "$ports" | while read -r port rp_p; do
          rp_parent=$(sed 's/^.*) //' "/proc/$rp_p/stat" 2>/dev/null | awk '{ print $2 }')
          printf 'port %s: pid %s %s, started by pid %s %s\n' "$((0x$port))" "$rp_p" \
            "$(exe_of "$rp_p")" "$rp_parent" "$(tr '\0' ' ' <"/proc/$rp_parent/cmdline" 2>/dev/null)"
        done
        return 42
      fi
    fi
  done
}

if fenced "$service" "$holder"; then return 93; fi
detached "$service" "$run.stop" stop
