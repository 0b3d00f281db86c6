# The journal of some units since a time. journalctl without the rights ends with 0 and says nothing: nothing is
# a gap, and the caller says so.
# Takes: since=0 unit... max=67108864
# since is in seconds since 1970, max in bytes.
# Exit: 0; 52 no journalctl here
units=''
add_unit() { units="$units -u $1"; }
with_unit each add_unit
has journalctl || return 52
# Unit names have no white space; names.rs saw to that.
# shellcheck disable=SC2086
said=$(journalctl --no-pager -q -o short-iso --since "@$since" $units 2>/dev/null | tail -c "$max")
if [ -z "$said" ]; then
  # shellcheck disable=SC2086
  said=$(as_root journalctl --no-pager -q -o short-iso --since "@$since" $units 2>/dev/null | tail -c "$max")
fi
printf '%s\n' "$said"
