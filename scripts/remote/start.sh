# Starts a colour the way the config says it is run. Safe to run twice. Whether it serves is asked afterwards.
# Arguments: sudo= service= holder= kind= name= file= project= start= log=. Exit: 0 started; 1 with what was said; 93 the
#   lock is another run's by now (section why): nothing was changed
service='' holder='' kind='' name='' file='' project=- start='' log=-
for arg in "$@"; do
  case $arg in
    sudo=*) rp_sudo=${arg#*=} ;;
    service=*) service=${arg#*=} ;;
    holder=*) holder=${arg#*=} ;;
    kind=*) kind=${arg#*=} ;;
    name=*) name=${arg#*=} ;;
    file=*) file=${arg#*=} ;;
    project=*) project=${arg#*=} ;;
    start=*) start=${arg#*=} ;;
    log=*) log=${arg#*=} ;;
  esac
done
if fenced "$service" "$holder"; then return 93; fi
section start
case $kind in
  systemd) as_root systemctl start "$name" 2>&1 ;;
  docker) docker start "$name" 2>&1 ;;
  compose)
    compose_of "$file" "$project" start "$name" 2>&1 ||
      compose_of "$file" "$project" up -d --no-deps "$name" 2>&1
    ;;
  process)
    # What the operator wrote, as a process of its own that no line and no terminal can take down.
    if [ "$log" != - ] && : >>"$log"; then exec 4>>"$log"; else exec 4>/dev/null; fi
    (
      trap '' HUP
      if has setsid; then exec setsid sh -c "$start"; else exec sh -c "$start"; fi
    ) </dev/null >&4 2>&1 &
    printf 'started as process %s' "$!"
    ;;
esac
