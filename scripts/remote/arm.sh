# Arms the dead man of a gradual switch on this balancer: where no lock of the service has a beat for so long, he puts all
# traffic back by himself, whoever is gone by then: this line, the laptop, the program.
# Takes: service holder number seconds=0 every=10 mine...
# mine are the texts that live may say while both sides have traffic, after is what it shall say then. seconds=0 calls off
#   whoever was armed before. He who was armed last takes the place of all before him; and he ends by himself once live has
#   said something else than mine for so long that nobody will say it any more.
# Sections: why. Exit: 0 armed, or called off; 40 the host ends what an account leaves behind when it logs out; 41 we have no
#   lock there, so that nobody would hear of us; 42 his record can be written nowhere; 93 as in switch.sh
if fenced "$service" "$holder" "$number"; then return 93; fi
[ -n "$number" ] || return 41
if [ "$seconds" != 0 ] && [ "$rp_uid" != 0 ] && has loginctl; then
  case $(loginctl show-session -p KillUserProcesses 2>/dev/null) in *=yes) return 40 ;; esac
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

# look_around PLACE: whether somebody was armed after us, as $later.
look_around() {
  rp_other=
  if [ -f "$1/$service.dead-man/armed" ]; then { IFS= read -r rp_other <"$1/$service.dead-man/armed"; } 2>/dev/null; fi
  if [ "$1/$service.dead-man" = "$record" ]; then
    [ "$rp_other" = "$armed" ] || later=yes
  elif is_number "${rp_other%.*}"; then
    others=yes
    [ "${rp_other%.*}" -le "${armed%.*}" ] || later=yes
  fi
}
forget() { rm -rf "$record"; }

if [ "$seconds" = 0 ]; then
  # Who was armed by another account looks for a record that is later than his own.
  others=no later=no
  each_place look_around
  say_state 'called off'
  printf "" >"$record/over"
  [ "$others" = yes ] || forget
  return 0
fi

# The host's own count of seconds: its clock may be set meanwhile.
read_uptime() { { IFS=' .' read -r now rp_rest </proc/uptime; } 2>/dev/null; }
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

# put_all_back: under a lock of his own, so that he and a run that comes back never write at once.
put_all_back() {
  holder="dead man of $holder" state=held other=''
  compete || return 1
  publish || {
    give_back
    return 1
  }
  { while sleep 2 && [ -e "$lock/held" ]; do printf . >"$lock/beat"; done; } &
  beats=$!
  before=${current%x}
  rp_put=0
  switch >"$record/said" || rp_put=$?
  kill -KILL "$beats"
  give_back
  case $rp_put in
    0) say_state "put all traffic back at $(date -u '+%Y-%m-%d %H:%M:%S') UTC, after $seconds s without a beat" ;;
    *) say_state "could not put all traffic back at $(date -u '+%Y-%m-%d %H:%M:%S') UTC (it ended with $rp_put); he tries again every minute" ;;
  esac
  return "$rp_put"
}

dead_man() {
  read_uptime
  since=$now beats='' seen='' mine=unknown was_mine=no away=$now own_holder=$holder
  while pause "$every"; do
    later=no others=no
    each_place look_around
    [ "$later" = no ] || return 0
    read_uptime
    heard=$(each_lock "$service" tell_beat)
    if [ "$heard" != "$beats" ]; then beats=$heard since=$now; fi
    stamped=$(with_also stamps "$live")
    if [ "$stamped" != "$seen" ]; then
      seen=$stamped
      rp_mine=0
      is_mine || rp_mine=$?
      case $rp_mine,$mine in
        0,*) mine=yes was_mine=yes ;;
        1,no) ;;
        1,*) mine=no away=$now ;;
      esac
    fi
    # Not at the first look: what could not be proven is put back, and then it is his again; and before the first share it is
    # not his yet.
    case $was_mine$mine in
      yesno) [ $((now - away)) -lt 30 ] || break ;;
      nono) [ $((now - away)) -lt 45 ] || break ;;
    esac
    [ $((now - since)) -ge "$seconds" ] || continue
    rp_mine=0
    is_mine || rp_mine=$?
    [ "$rp_mine" != 1 ] || break
    if [ "$rp_mine" = 0 ] && put_all_back; then
      printf "" >"$record/over"
      return 0
    fi
    # The beats of his own lock are nobody's.
    holder=$own_holder
    beats=$(each_lock "$service" tell_beat)
    since=$((now - seconds + 60))
  done
  forget
}

say_state "armed: puts all traffic back after $seconds s without a beat"
(
  trap '' HUP INT TERM PIPE
  dead_man
) </dev/null >/dev/null 2>&1 3<&- &
umask 022
printf '%s\n' "$!" >"$record/pid"
