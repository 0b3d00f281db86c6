# Takes the lock of a config, $group, beside who else wants it; sent behind lib.sh.
# Takes: take_over=no
# take_over=yes takes it also from a live run, switch from one that moves traffic in steps. Another one's dead man is waited for.

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
  if mkdir "$1/$group.$number.$$.lock" 2>/dev/null; then
    lock=$1/$group.$number.$$.lock
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
  { printf '%s\n%s\n' "$number" "$holder" >"${lock%/*}/$group.number" && printf '' >"$lock/held"; } 2>/dev/null
  umask 077
  latest "$group"
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
  elif may_take "$1"; then
    read_holder "$1"
    if is_seen_by "$1"; then
      state=taken other=$rp_holder
    else
      rival=first busy="$rp_holder; it is of another account, which does not see a lock of ours: sudo rm -r $1"
    fi
  elif [ -e "$1/held" ] || { [ -s "$1/beat" ] && is_before "$rp_number" "${rp_pid##*.}"; }; then
    read_holder "$1"
    # Without its holder it is given back in this moment, and nobody's name is known by it; a dead man's that is held is in a few.
    [ ! -e "$1/holder" ] || busy=$rp_holder
    if [ -e "$1/held" ] && is_dead_man; then
      [ "$rival" != no ] || rival=later
      patience=1000
    elif [ -e "$1/holder" ]; then
      rival=first
    elif [ "$rival" = no ]; then
      rival=later
    fi
  elif [ "$rival" = no ]; then
    rival=later
  fi
}
# may_take LOCK: whether it is a live run's, and for us to take: a rollback wins against a switch without a word.
may_take() {
  [ -e "$1/held" ] || return 1
  [ "$take_over" != yes ] || return 0
  [ "$take_over" = switch ] || return 1
  read_holder "$1"
  case $rp_holder in 'switch by '*) ;; *) return 1 ;; esac
}
# is_dead_man: whether $rp_holder is one: it puts all traffic back, and is gone.
is_dead_man() { case $rp_holder in 'dead man of '*) ;; *) return 1 ;; esac }
# is_seen_by LOCK: whether its run looks where our lock is, and so is told that we have come.
is_seen_by() {
  case $lock in "$rp_proven"/* | */rollback-prod-0/*) return 0 ;; esac
  [ -O "$1" ]
}
is_before() { [ "$1" -lt "$number" ] || { [ "$1" = "$number" ] && [ "$2" -lt $$ ]; }; }

# is_ours_alone: fails with 1 where another run is first, with 2 where one has come and gone: our number is old then.
is_ours_alone() {
  rp_round=0 patience=100
  while [ "$rp_round" -lt "$patience" ]; do
    rival=no
    latest "$group"
    each_lock "$group" look_at
    case $rival in
      no)
        latest "$group"
        [ "$rp_latest" -lt "$number" ] && return 0
        # Who that was he wrote down himself.
        busy=${rp_latest_of:-$busy}
        return 2
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
  latest "$group"
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
  latest "$group"
  [ "$rp_latest" = "$number" ]
}
