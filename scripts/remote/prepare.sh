# Takes the config's lock on this host and tests the candidate. The lock lives as long as this channel: while the
# laptop is there it sends a beat every other second; when it dies, the channel ends and the lock is gone with it.
# Takes: service... holder live test text source held_before
# service are all that the run has: there is one lock for them.
# live, test and text are of a file that will change. held_before is the number of a lock that this very run had, and whose line is
#   gone: where anybody had one since, it is not taken again.
# Sections: lock (held | stale HOLDER | taken HOLDER | busy HOLDER | none WHY), number (of the lock that was taken), note
#   (a line about what was found), candidate. Exit: 0; 20 another run holds the lock.

# A laptop that dies in the middle of this must not kill the script at its next word, with the lock in its hand: it
# goes on, finds its input at the end, and gives the lock back.
trap '' HUP INT TERM PIPE

# over_in SERVICE PLACE
over_in() {
  if is_ours "$2/$1.dead-man" && [ -e "$2/$1.dead-man/over" ]; then rm -rf "$2/$1.dead-man"; fi
}
# forget SERVICE: what is over of it.
forget() {
  # Steps of earlier runs that nobody asked for again: they have ended, and what they left was read as it is.
  records "$1" | while IFS= read -r rp_job; do
    if [ -e "$rp_job/status" ]; then
      rm -rf "$rp_job"
      rmdir "${rp_job%/*}" 2>/dev/null
    fi
  done
  # A dead man who has done what he was for was read, too.
  [ -n "$held_before" ] || each_place over_in "$1"
}

# What somebody else has put where a place of ours would be.
for base in $rp_bases; do
  squat=$base/rollback-prod-$rp_uid
  if { [ -e "$squat" ] || [ -L "$squat" ]; } && ! is_ours "$squat"; then notes="$notes $squat"; fi
done

latest "$group"
if [ -n "$held_before" ] && [ "$rp_latest" -gt "$held_before" ] && [ "$rp_latest_of" != "$holder" ]; then
  section lock
  printf 'busy one that came and went meanwhile: %s' "${rp_latest_of:-nobody knows whose}"
  return 20
fi
outcome=2 tries=0
while [ "$outcome" = 2 ] && [ "$tries" -lt 20 ]; do
  compete && outcome=0 || outcome=$?
  tries=$((tries + 1))
done
case $outcome in
  0)
    if publish; then
      verdict="$state${other:+ $other}"
    else
      verdict="none its number cannot be written to ${lock%/*}"
      give_back
    fi
    ;;
  3)
    verdict='none there is no folder in memory that it can be written to'
    # Who can leave no lock gives way to one that is there.
    is_ours_alone || verdict="busy $busy"
    if [ "$state" = taken ]; then verdict="busy $other; there is no room here for a lock that would tell it to stop"; fi
    ;;
  *) verdict="busy $busy" ;;
esac
section lock
printf '%s' "$verdict"
if [ -n "$notes" ]; then
  section note
  printf 'made by another account, and not used:%s' "$notes"
fi
case $verdict in
  busy*) return 20 ;;
  none*) ;;
  *)
    section number
    printf '%s' "$number"
    ;;
esac

if [ -n "$live" ]; then
  # A test that waits for a name server takes its time, and the laptop sends no beat before it has its answer. Bounded: it
  # must not keep alive what its run has left.
  if [ -n "$lock" ]; then
    {
      rp_round=0
      while [ "$rp_round" -lt 15 ] && sleep 2 && [ -e "$lock/held" ]; do
        printf . >"$lock/beat"
        rp_round=$((rp_round + 1))
      done
    } </dev/null >/dev/null 2>&1 3<&- &
    beats=$!
  fi
  candidate "$live" "$test" "$text" "$source"
  # It ignores the other signals, as we do.
  [ -z "$lock" ] || kill -KILL "$beats" 2>/dev/null
fi
case $verdict in none*) return 0 ;; esac

with_service each forget
answered 0
# From here on nothing is printed but "lost": the answer has been given, the channel only holds the lock.
while IFS= read -r beat <&3; do
  if [ "$beat" = release ]; then break; fi
  if ! is_still_held; then
    give_back
    printf 'lost\n'
    return 0
  fi
  printf . >"$lock/beat"
done
give_back
