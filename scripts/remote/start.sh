# Starts a colour the way the config says it is run. Safe to run twice. Whether it serves is asked afterwards.
# Takes: holder number kind name file project=- start log=- anew=no
# anew=yes: with what its files say now, where a supervisor would start what it made of them before.
# Exit: 0 started; 1 with what was said; 93 the lock is another run's by now (section why): nothing was changed. Sections:
#   start (what was said); process (`PID START`, the leader of a session of its own); after a failure supervisor and
#   last_words, see `supervised` in lib.sh.
if fenced "$group" "$holder" "$number"; then return 93; fi
# is_plain FILE: whether it is one, or nothing yet: a FIFO holds up who opens it, and what a link leads to is not its log.
is_plain() { [ ! -L "$1" ] && { [ -f "$1" ] || [ ! -e "$1" ]; }; }
# to_its_log: descriptor 4, for what it prints: it must outlive the line.
to_its_log() {
  exec 4>/dev/null
  if [ "$log" != - ] && is_plain "$log" && true 2>/dev/null >>"$log"; then
    exec 4>>"$log"
    # Its folder may be the application's: once more, of what was opened.
    [ "$(readlink /proc/self/fd/4)" = "$(readlink -f "${log%/*}/")/${log##*/}" ] || exec 4>/dev/null
  fi
}
section start
rp_started=0
case $kind in
  systemd) as_root systemctl start "$name" 2>&1 ;;
  docker) docker start "$name" 2>&1 ;;
  compose)
    if [ "$anew" = yes ]; then
      compose_of "$file" "$project" up -d --no-deps --force-recreate "$name" 2>&1
    else
      compose_of "$file" "$project" start "$name" 2>&1 ||
        compose_of "$file" "$project" up -d --no-deps "$name" 2>&1
    fi
    ;;
  command)
    to_its_log
    run_bounded 90 "$start" || { printf 'its command ended with %s' "$?" && false; }
    ;;
  process)
    # What the operator wrote, as a process of its own that no line and no terminal can take down.
    to_its_log
    (
      trap '' HUP
      if has setsid; then exec setsid sh -c "$start"; else exec sh -c "$start"; fi
    ) </dev/null >&4 2>&1 &
    rp_pid=$!
    printf 'started as process %s' "$rp_pid"
    if has setsid; then
      section process
      read_start "$rp_pid"
      printf '%s %s' "$rp_pid" "$rp_start"
    fi
    ;;
esac || rp_started=$?
[ "$rp_started" = 0 ] || supervised "$kind" "$name"
return "$rp_started"
