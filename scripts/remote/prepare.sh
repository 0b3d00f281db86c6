# Takes the service's lock on this host and tests the candidate. The lock lives as long as this channel: while the
# laptop is there it sends a beat every other second; when it dies, the channel ends and the lock is gone with it.
# Takes: service holder take_over=no live test text source
# take_over=yes takes it also from a live run; live, test and text are of a file that will change.
# Sections: lock (held | stale HOLDER | taken HOLDER | busy HOLDER | none WHY), number (of the lock that was taken), note
#   (a line about what was found), candidate. Exit: 0; 20 another run holds the lock.

# A laptop that dies in the middle of this must not kill the script at its next word, with the lock in its hand: it
# goes on, finds its input at the end, and gives the lock back.
trap '' HUP INT TERM PIPE

lock='' state=held other='' busy='somebody who was quicker' notes=

# Whoever wants it makes a lock of his own first and looks around then; so of two that come together at least one sees the
# other, and whoever sees another does not go on. The later number gives way at once, the earlier one waits for that a
# moment. A lock has a name of its own and is only ever removed by that name: one that was judged abandoned is never taken
# for the one that somebody made in its place.

# take PLACE: a lock of ours there, whole or not at all. For all to read: an operator with another account must see who
# holds it, and that the beat is fresh.
take() {
  rp_taken=1
  umask 022
  if mkdir "$1/$service.$number.$$.lock" 2>/dev/null; then
    lock=$1/$service.$number.$$.lock
    if { printf '%s\n' "$holder" >"$lock/holder" && printf . >"$lock/beat"; } 2>/dev/null && [ -s "$lock/beat" ]; then
      rp_taken=0
    else
      # A disk that is full makes folders only: half a lock would be nobody's, and in everybody's way.
      give_back
    fi
  fi
  umask 077
  return "$rp_taken"
}
give_back() {
  [ -z "$lock" ] || remove "$lock"
  lock=
}
# remove LOCK: first out of everybody's sight: half a lock would look like one that is being made.
remove() { mv "$1" "${1%.lock}.gone" && rm -rf "${1%.lock}.gone"; }

# publish: from now on this is the last lock that was held here. Nobody else writes it then; who reads it while it is being
# written sees the lock itself.
publish() {
  umask 022
  { printf '%s\n' "$number" >"${lock%/*}/$service.number" && : >"$lock/held"; } 2>/dev/null
  umask 077
  latest "$service"
  [ "$rp_latest" = "$number" ] && [ -e "$lock/held" ]
}

# look_at LOCK: whether it is in our way, as $rival: no, later (it will give way, or is not whole yet) or first.
look_at() {
  [ "$1" != "$lock" ] || return 0
  # What a later one took the place of holds nothing; its run has been told, or will be, or is no more.
  if [ "$rp_number" -lt "$rp_latest" ]; then
    if is_ours "$1" && is_stale "$1"; then remove "$1" 2>/dev/null; fi
    return 0
  fi
  # Of this very run, over a line that died in the middle of it.
  read_holder "$1"
  [ "$rp_holder" != "$holder" ] || return 0
  if is_stale "$1"; then
    # Given back while we looked, it was nobody's left behind.
    [ -d "$1" ] || return 0
    read_holder "$1"
    if [ -e "$1/held" ] || [ -z "$other" ]; then state=stale other=$rp_holder; fi
    # That of another account stays where it is, and holds nothing.
    remove "$1" 2>/dev/null
  elif [ -e "$1/held" ] && [ "$take_over" = yes ]; then
    read_holder "$1"
    if is_seen_by "$1"; then
      state=taken other=$rp_holder
    else
      rival=first busy="$rp_holder; it is of another account, which does not see a lock of ours: sudo rm -r $1"
    fi
  elif [ -e "$1/held" ] || { [ -s "$1/beat" ] && is_before "$rp_number" "${rp_pid##*.}"; }; then
    read_holder "$1"
    # Without its holder it is given back in this moment.
    if [ -e "$1/holder" ]; then rival=first busy=$rp_holder; elif [ "$rival" = no ]; then rival=later; fi
  elif [ "$rival" = no ]; then
    rival=later
  fi
}
# is_seen_by LOCK: whether its run looks where our lock is, and so is told that we have come.
is_seen_by() {
  case $lock in "$rp_proven"/* | */rollback-prod-0/*) return 0 ;; esac
  [ -O "$1" ]
}
is_before() { [ "$1" -lt "$number" ] || { [ "$1" = "$number" ] && [ "$2" -lt $$ ]; }; }

# is_ours_alone: fails with 1 where another run is first, with 2 where one has come and gone: our number is old then.
is_ours_alone() {
  rp_round=0
  while [ "$rp_round" -lt 100 ]; do
    rival=no
    latest "$service"
    each_lock "$service" look_at
    case $rival in
      no)
        latest "$service"
        [ "$rp_latest" -lt "$number" ] || return 2
        return 0
        ;;
      first) return 1 ;;
    esac
    rp_round=$((rp_round + 1))
    pause 0.02
  done
  return 1
}

# compete: fails with what is_ours_alone fails with, and with 3 where no lock can be left.
compete() {
  latest "$service"
  number=$(($(date +%s) * 1000))
  if [ "$number" -le "$rp_latest" ]; then number=$((rp_latest + 1)); fi
  each_own_place take || return 3
  is_ours_alone || {
    rp_lost=$?
    give_back
    return "$rp_lost"
  }
}

# is_still_held: nobody has removed it, and nobody has held one since.
is_still_held() {
  [ -e "$lock/held" ] || return 1
  latest "$service"
  [ "$rp_latest" = "$number" ]
}

# What somebody else has put where a place of ours would be.
for base in $rp_bases; do
  squat=$base/rollback-prod-$rp_uid
  if { [ -e "$squat" ] || [ -L "$squat" ]; } && ! is_ours "$squat"; then notes="$notes $squat"; fi
done

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

# Steps of earlier runs that nobody asked for again: they have ended, and what they left was read as it is.
records "$service" | while IFS= read -r rp_job; do
  if [ -e "$rp_job/status" ]; then rm -rf "$rp_job"; fi
done
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
