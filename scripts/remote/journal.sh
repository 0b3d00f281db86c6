# The journal of some units since a time. journalctl without the rights ends with 0 and says nothing: nothing is
# a gap, and the caller says so.
# Arguments: sudo= since= (seconds since 1970) unit= (repeated) max= (bytes)
# Exit: 0; 52 no journalctl here
since=0 units='' max=67108864
for arg in "$@"; do
  case $arg in
    sudo=*) rp_sudo=${arg#*=} ;;
    since=*) since=${arg#*=} ;;
    max=*) max=${arg#*=} ;;
    unit=*) units="$units -u ${arg#*=}" ;;
  esac
done
has journalctl || return 52
# Unit names have no white space; names.rs saw to that.
# shellcheck disable=SC2086
said=$(journalctl --no-pager -q -o short-iso --since "@$since" $units 2>/dev/null | tail -c "$max")
if [ -z "$said" ]; then
  # shellcheck disable=SC2086
  said=$(as_root journalctl --no-pager -q -o short-iso --since "@$since" $units 2>/dev/null | tail -c "$max")
fi
printf '%s\n' "$said"
