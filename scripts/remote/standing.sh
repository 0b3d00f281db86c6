# How a change stands on this host: what its files are, and whether it is in force. Only asks; leaves nothing behind.
# Takes: asks=no
# asks=yes: the words are run, which end with 0 where it is in force.
# Sections: for each file a `file` (its lines: live PATH, put DIGEST, into DIGEST, owner WHOSE, why WORDS, missing WORDS), a
# `put` and an `into` (what they say, where that is text of a size to read); check.status (what the words ended with).
tell_file() {
  section file
  rp_behind=$(readlink -f "$live" 2>/dev/null) || rp_behind=$(as_root readlink -f "$live" 2>/dev/null)
  if [ -z "$rp_behind" ]; then
    printf 'why there is no folder that it could stand in\n'
    return 0
  fi
  live=$rp_behind
  name_neighbours
  printf 'live %s\n' "$live"
  read_sum "$put"
  put_sum=$rp_sum
  printf 'put %s\n' "$put_sum"
  read_sum "$live"
  live_sum=$rp_sum
  printf 'into %s\n' "$live_sum"
  printf 'owner %s\n' "$(stat -c '%U:%G %a' "$live" 2>/dev/null || as_root stat -c '%U:%G %a' "$live" 2>/dev/null)"
  if [ "$rp_uid" != 0 ]; then tell_rights; fi
  section put
  tell_text "$put"
  section into
  tell_text "$live"
}
# tell_rights: what sudo would have to allow; change.sh uses exactly these words.
tell_rights() {
  if [ "$put_sum" != - ] && [ ! -r "$put" ]; then needs cat "$put"; fi
  if [ "$live_sum" != - ] && [ ! -r "$live" ]; then
    # What takes its place may be read by no others.
    for rp_path in "$live" "$new" "$kept"; do needs cat "$rp_path"; done
  fi
  if is_own_file; then
    if [ "$live_sum" = - ] && [ "$put_sum" != - ] && [ ! -r "$put" ]; then needs cp -a "$put" "$new"; fi
    return 0
  fi
  if [ "$sudo" != yes ]; then
    printf 'why its folder or it is of another account, and the config says sudo = false\n'
    return 0
  fi
  if [ "$live_sum" = - ]; then
    needs cp -a "$put" "$new"
    needs rm -f "$live"
  else
    needs cp -a "$live" "$new"
    needs tee "$new"
    needs ln -f "$live" "$kept"
    needs mv -f "$kept" "$live"
  fi
  needs mv -f "$new" "$live"
  needs rm -f "$new"
}
needs() { sudo -n -l "$@" >/dev/null 2>&1 || printf 'missing %s\n' "$*"; }
tell_text() {
  read_size "$1"
  if [ -n "$rp_size" ] && [ "$rp_size" -le 65536 ]; then read_whole "$1"; fi
}
with_file each_file tell_file
if [ "$asks" = yes ]; then
  section check.status
  rp_status=0
  told '' || rp_status=$?
  printf '%s' "$rp_status"
fi
