# Arms the dead man of a gradual switch on this balancer: where no lock of its config has a beat for so long, he puts all
# traffic back by himself, whoever is gone by then: this line, the laptop, the program.
# Takes: service holder number seconds=0 every=10 mine...
# mine are the texts that live may say while both sides have traffic, after is what it shall say then. seconds=0 calls off
#   whoever was armed before. He who was armed last takes the place of all before him; and he ends by himself once live has
#   said something else than mine for so long that nobody will say it any more. A get `direct` asks a server that all traffic would
#   go to: where none answers he waits.
# Sections: why. Exit: 0 armed, or called off; 40 the host ends what an account leaves behind when it logs out; 41 we have no
#   lock there, so that nobody would hear of us; 42 his record can be written nowhere; 43 one whom another account armed sees neither
#   our record nor our beats (section why: his record); 93 as in switch.sh
if fenced "$group" "$holder" "$number"; then return 93; fi
[ -n "$number" ] || return 41
if [ "$seconds" != 0 ] && [ "$rp_uid" != 0 ] && has loginctl; then
  rp_logind=$(loginctl show-session -p KillUserProcesses -p KillOnlyUsers -p KillExcludeUsers 2>/dev/null)
  rp_me=${LOGNAME:-$(id -un)}
  rp_killed=no
  case $rp_logind in *KillUserProcesses=yes*) rp_killed=yes ;; esac
  case " $(printf '%s' "$rp_logind" | sed -n 's/^KillOnlyUsers=//p') " in *" $rp_me "*) rp_killed=yes ;; esac
  case " $(printf '%s' "$rp_logind" | sed -n 's/^KillExcludeUsers=//p') " in *" $rp_me "*) rp_killed=no ;; esac
  [ "$rp_killed" = no ] || return 40
fi

# The record of a dead man is PLACE/SERVICE.dead-man with the files armed (his lock's number and a shell's), state (a line for
# people), pid, and over once he has done what he is for.
armed=$number.$$
write_record() {
  record=$1/$service.dead-man
  rp_written=1
  umask 022
  if mkdir -p "$record" 2>/dev/null && { printf '%s\n' "$armed" >"$record/new"; } 2>/dev/null && [ -s "$record/new" ]; then
    rm -f "$record/over" "$record/pid"
    mv -f "$record/new" "$record/armed" && rp_written=0
  fi
  umask 077
  return "$rp_written"
}
say_state() {
  umask 022
  printf '%s\n' "$1" >"$record/state"
  umask 077
}
each_own_place write_record || return 42

# read_armed PLACE: who was armed there last, into $rp_other.
read_armed() {
  rp_other=
  if [ -f "$1/$service.dead-man/armed" ]; then { IFS= read -r rp_other <"$1/$service.dead-man/armed"; } 2>/dev/null; fi
}
# look_around PLACE: whether somebody was armed after us, as $later. A record that somebody wiped is written again.
look_around() {
  read_armed "$1"
  if [ "$1/$service.dead-man" = "$record" ]; then
    case $rp_other in "$armed") ;; '') rewrite_record ;; *) later=yes ;; esac
  elif is_number "${rp_other%.*}"; then
    [ "${rp_other%.*}" -le "${armed%.*}" ] || later=yes
  fi
}
rewrite_record() {
  umask 022
  { mkdir -p "$record" && printf '%s\n' "$armed" >"$record/armed"; } 2>/dev/null
  rp_written=$?
  umask 077
  return "$rp_written"
}
# is_his: whether the record is still of this one.
is_his() {
  read_armed "${record%/*}"
  [ "$rp_other" = "$armed" ]
}
forget() { if is_his; then rm -rf "$record"; fi; }

# unseen_in PLACE: somebody whom another account armed, and who looks where our records and locks are not.
unseen_in() {
  case $record in "$rp_proven"/* | */rollback-prod-0/*) return 0 ;; esac
  if [ -e "$1/$service.dead-man/armed" ] && [ ! -e "$1/$service.dead-man/over" ] && [ ! -O "$1" ]; then
    unseen=$1/$service.dead-man
  fi
}
unseen=
each_place unseen_in
if [ -n "$unseen" ]; then
  section why
  printf '%s' "$unseen"
  forget
  return 43
fi

if [ "$seconds" = 0 ]; then
  # It stays until the next lock: whoever was armed looks for a record that is later than his own.
  say_state 'called off'
  printf '' >"$record/over"
  return 0
fi

tell_beat() { [ ! -e "$1/held" ] || stat -c '%n %Y' "$1/beat" 2>/dev/null; }
stamps() {
  for rp_stamped in "$@"; do
    stat -L -c '%d %i %Y %s' "$rp_stamped" 2>/dev/null || as_root stat -L -c '%d %i %Y %s' "$rp_stamped" 2>/dev/null
  done
}
# is_mine: fails with 1 where live says something else, with 2 where it cannot be read.
is_mine() {
  current=$(with_also tell_all "$live" && printf x) || return 2
  with_mine is_current
}
is_current() {
  for rp_text in "$@"; do [ "$current" != "${rp_text}x" ] || return 0; done
  return 1
}

# is_home_well: whether he whom all traffic would go to answers by himself. Two wrongs are no way out.
is_home_well() {
  if [ -n "$nginx_container" ]; then
    find_container || return 1
    with_lookup look_up
  fi
  case $(with_get fetch | judged direct) in 0*) return 1 ;; esac
}
# who_works: something where a step of the run that is gone is at work.
who_works() {
  records "$service" | while IFS= read -r rp_work; do
    if is_at_work "$rp_work"; then printf x; fi
  done
}

# put_all_back: under a lock of his own, so that he and a run that comes back never write at once. Fails with 2 where somebody
# has it, or a step is still at work.
put_all_back() {
  if [ "$asks" = yes ] && ! is_home_well; then
    say_state "armed: waits since $(date -u '+%Y-%m-%d %H:%M:%S') UTC, for nobody answers where all traffic would go"
    return 1
  fi
  holder="dead man of $holder" state=held other=''
  compete || return 2
  publish || {
    give_back
    return 2
  }
  if [ -n "$(who_works)" ]; then
    give_back
    return 2
  fi
  said=$record/said
  { rewrite_record && printf '' >"$said"; } 2>/dev/null || said=/dev/null
  { while sleep 2 && [ -e "$lock/held" ]; do printf . >"$lock/beat"; done; } &
  beats=$!
  before=${current%x}
  rp_put=0
  switch >"$said" || rp_put=$?
  kill -KILL "$beats"
  # Before anybody can be armed after him.
  case $rp_put in
    0) say_state "put all traffic back at $(date -u '+%Y-%m-%d %H:%M:%S') UTC, after $seconds s without a beat" ;;
    *) say_state "could not put all traffic back at $(date -u '+%Y-%m-%d %H:%M:%S') UTC (it ended with $rp_put); he tries again" ;;
  esac
  [ "$rp_put" != 0 ] || printf '' >"$record/over"
  give_back
  return "$rp_put"
}

dead_man() {
  read_seconds
  since=$rp_seconds beats='' seen='' mine=unknown was_mine=no away=$rp_seconds own_holder=$holder own_number=$number longer=60
  while pause "$every"; do
    later=no
    each_place look_around
    [ "$later" = no ] || break
    read_seconds
    heard=$(each_lock "$group" tell_beat)
    if [ "$heard" != "$beats" ]; then beats=$heard since=$rp_seconds; fi
    stamped=$(with_also stamps "$live")
    if [ "$stamped" != "$seen" ]; then
      seen=$stamped
      rp_mine=0
      is_mine || rp_mine=$?
      case $rp_mine,$mine in
        0,*) mine=yes was_mine=yes ;;
        1,no) ;;
        1,*) mine=no away=$rp_seconds ;;
      esac
    fi
    # Not at the first look: what could not be proven is put back, and then it is his again; and before the first share it is
    # not his yet.
    case $was_mine$mine in
      yesno) [ $((rp_seconds - away)) -lt 45 ] || break ;;
      nono) [ $((rp_seconds - away)) -lt 90 ] || break ;;
    esac
    [ $((rp_seconds - since)) -ge "$seconds" ] || continue
    rp_mine=0
    is_mine || rp_mine=$?
    [ "$rp_mine" != 1 ] || break
    rp_back=0
    if [ "$rp_mine" = 0 ]; then put_all_back || rp_back=$?; fi
    if [ "$rp_mine$rp_back" = 00 ]; then return 0; fi
    # The beats of his own lock are nobody's. Where nobody is in his way he waits longer each time.
    holder=$own_holder number=$own_number
    beats=$(each_lock "$group" tell_beat)
    read_seconds
    if [ "$rp_back" = 2 ]; then
      since=$((rp_seconds - seconds + 5))
    else
      since=$((rp_seconds - seconds + longer))
      [ "$longer" -ge 900 ] || longer=$((longer * 2))
    fi
  done
  forget
}

# Whom this account cannot ask although he serves, it need not ask later.
asks=no
if is_home_well; then asks=yes; fi
say_state "armed: puts all traffic back after $seconds s without a beat"
(
  trap '' HUP INT TERM PIPE
  dead_man
) </dev/null >/dev/null 2>&1 3<&- &
umask 022
printf '%s\n' "$!" >"$record/pid"
