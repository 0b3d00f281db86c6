# Takes the service's lock on this host and tests the candidate. The lock lives as long as this channel: while the
# laptop is there it sends a beat every other second; when it dies, the channel ends and the lock is gone with it.
# Arguments: sudo= service= run= holder= take_over= (yes: also from a live run) and, for a file that will change, live=
#   test= text=
# Sections: lock (held | stale HOLDER | taken HOLDER | busy HOLDER | none WHY), candidate. Exit: 0; 20 another run holds
#   the lock.
service='' run='' holder='' take_over=no live='' test='' text=''
for arg in "$@"; do
  case $arg in
    sudo=*) rp_sudo=${arg#*=} ;;
    service=*) service=${arg#*=} ;;
    run=*) run=${arg#*=} ;;
    holder=*) holder=${arg#*=} ;;
    take_over=*) take_over=${arg#*=} ;;
    live=*) live=${arg#*=} ;;
    test=*) test=${arg#*=} ;;
    text=*) text=${arg#*=} ;;
  esac
done

# A laptop that dies in the middle of this must not kill the script at its next word, with the lock in its hand: it
# goes on, finds its input at the end, and gives the lock back.
trap '' HUP INT TERM PIPE

# A beat that is older than this many seconds belongs to nobody: five beats were missed.
stale_after=10
base=$(state_folder) || base=
lock=$base/rollback-prod-$service.lock
verdict=

# For all to read: an operator with another account must see who holds it, and that the beat is fresh.
take() {
  umask 022
  rp_taken=1
  if mkdir "$lock" 2>/dev/null; then
    if { printf '%s\n' "$holder" >"$lock/holder" && printf . >"$lock/beat"; } 2>/dev/null && [ -s "$lock/beat" ]; then
      rp_taken=0
    else
      # A disk that is full makes folders only: half a lock would be nobody's, and in everybody's way.
      rm -rf "$lock"
    fi
  fi
  umask 077
  return "$rp_taken"
}
is_ours() {
  read_holder "$lock"
  [ "$rp_holder" = "$holder" ]
}
age() {
  rp_beat=$(stat -c %Y "$lock/beat" 2>/dev/null || stat -c %Y "$lock" 2>/dev/null || printf 0)
  printf '%s' $(($(date +%s) - rp_beat))
}

if [ -z "$base" ]; then
  verdict='none no folder in memory is writable'
elif take; then
  verdict=held
elif [ ! -d "$lock" ]; then
  verdict="none $lock cannot be written"
else
  other=$(cat "$lock/holder" 2>/dev/null || printf 'somebody who left no name')
  state=stale
  if [ "$(age)" -lt "$stale_after" ]; then state=live; fi
  if [ "$state" = live ] && [ "$take_over" != yes ]; then
    verdict="busy $other"
  elif mv "$lock" "$lock.before.$$" 2>/dev/null; then
    # The move is what decides between two runs that both want it.
    rm -rf "$lock.before.$$"
    case $state in live) state=taken ;; esac
    if take; then verdict="$state $other"; else verdict="busy $(cat "$lock/holder" 2>/dev/null)"; fi
  elif [ "$state" = live ]; then
    # Going on beside a run that cannot be told to stop would be two at once.
    verdict="busy $other; it is of another account: sudo rm -r $lock"
  else
    verdict="none the stale lock of $other is not ours to remove"
  fi
fi
section lock
printf '%s' "$verdict"
case $verdict in busy*) return 20 ;; esac

if [ -n "$live" ]; then candidate "$live" "$test" "$text"; fi
case $verdict in none*) return 0 ;; esac

# Steps of earlier runs that nobody asked for again: they have ended, and what they left was read as it is.
records "$service" | while IFS= read -r rp_job; do
  if [ -e "$rp_job/status" ]; then rm -rf "$rp_job"; fi
done
answered 0
# From here on nothing is printed but "lost": the answer has been given, the channel only holds the lock.
while IFS= read -r beat <&3; do
  if [ "$beat" = release ]; then break; fi
  if ! is_ours; then
    printf 'lost\n'
    return 0
  fi
  printf . >"$lock/beat"
done
if is_ours; then rm -rf "$lock"; fi
