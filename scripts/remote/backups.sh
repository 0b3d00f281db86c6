# The dumps, newest first. Only looks.
# Takes: pattern
# The pattern is a path, with `*` where there are several. Always ends with 0.
# A pattern may have blanks and quotes: nothing but `*`, `?` and `[` is special in it.
expand() {
  IFS=
  # shellcheck disable=SC2086
  set -- $1
  unset IFS
  for found in "$@"; do
    if [ -e "$found" ]; then printf '%s\n' "$found"; fi
  done
}
found=$(expand "$pattern")
if [ -z "$found" ] && [ "$rp_uid" != 0 ] && [ "$sudo" = yes ]; then
  # The folder may be root's alone. The pattern goes in as data; find knows the same signs.
  found=$(as_root find "${pattern%/*}" -maxdepth 1 -path "$pattern" 2>/dev/null)
fi
# measured: SIZE MTIME KIND PATH for each path that comes in.
measured() {
  while IFS= read -r path; do
    stat=$(stat -L -c '%Y %F' "$path" 2>/dev/null || as_root stat -L -c '%Y %F' "$path" 2>/dev/null) || continue
    case $stat in
      *directory)
        # What it may not read it leaves out, and says a number all the same.
        size=$(du -sk "$path" 2>/dev/null) || size=$(as_root du -sk "$path" 2>/dev/null) || continue
        printf '%s %s folder %s\n' "$((${size%%[!0-9]*} * 1024))" "${stat%% *}" "$path"
        ;;
      # Whoever opens a FIFO is held there.
      *' regular'*)
        read_size "$path"
        printf '%s %s file %s\n' "$rp_size" "${stat%% *}" "$path"
        ;;
    esac
  done
}
first=$(printf '%s\n' "$found" | measured | sort -k2,2nr)
young=no
for mtime in $(printf '%s\n' "$first" | awk '{ print $2 }'); do
  if [ $(($(date +%s) - mtime)) -lt 60 ]; then young=yes; fi
done
second=$first
# One that was written to a moment ago may be written to still.
if [ "$young" = yes ]; then
  sleep 1
  second=$(printf '%s\n' "$found" | measured | sort -k2,2nr)
fi
section files
printf '%s\n' "$second"
section before
printf '%s\n' "$first"
if [ -z "$found" ]; then
  section looked
  # shellcheck disable=SC2012
  ls -ld "${pattern%/*}" 2>&1 && ls -l "${pattern%/*}" 2>&1 | tail -n 5
fi
