# Remembers on this host which releases were taken out of traffic (back=yes: that they are in it again), as lines of
# SECONDS RUN +/- RELEASE in PLACE/SERVICE.rolled-back: where others see it too, and where a boot does not take it away.
# Takes: service holder number run when back=no release...
# Exit: 0 done; 1 there is room nowhere; 93 the lock is another run's by now (section why): nothing was changed
if fenced "$group" "$holder" "$number"; then return 93; fi
if [ "$back" = yes ]; then sign=-; else sign=+; fi
# Clocks of laptops differ: what is written last is the latest.
later_than_last() {
  [ -f "$2/$1.rolled-back" ] || return 0
  rp_last=$(tail -n 1 "$2/$1.rolled-back")
  rp_last=${rp_last%%"$rp_unit"*}
  if is_number "$rp_last" && [ "$when" -le "$rp_last" ]; then when=$((rp_last + 1)); fi
}
each_place later_than_last "$service"
line() { printf '%s%s%s%s%s%s%s\n' "$when" "$rp_unit" "$run" "$rp_unit" "$sign" "$rp_unit" "$1"; }
add_in() {
  rp_kept=$1/$service.rolled-back
  umask 022
  rp_added=0
  {
    {
      [ ! -f "$rp_kept" ] || tail -n 40 "$rp_kept"
      with_release each line
    } >"$rp_kept.new" && [ -s "$rp_kept.new" ] && mv -f "$rp_kept.new" "$rp_kept"
  } 2>/dev/null || rp_added=1
  umask 077
  return "$rp_added"
}
each_own_place add_in || return 1
rp_kept_first=$rp_kept
if read_lasting; then
  [ "$rp_kept_first" = "$rp_lasting/$service.rolled-back" ] || add_in "$rp_lasting"
fi
return 0
