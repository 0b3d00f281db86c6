# Statuses in nginx's access logs before and after a moment (a size of each log). Counts only; only asks.
# Takes: log...
# A log is PATH US SIZE: where it ended at the switch (read_end in nginx.sh); lines behind that are "after".
# Section access: for each log "PATH before TOTAL ERRORS after TOTAL ERRORS", or "PATH unreadable".
count() {
  # The status is the field after the quoted request, in `combined` and all formats that begin like it; in JSON it has a name.
  awk '
    match($0, /" [1-5][0-9][0-9] /) { n++; if (substr($0, RSTART + 2, 1) == "5") e++; next }
    match($0, /"(http_|response_)?(status|code)" *: *"?[1-5][0-9][0-9]/) { n++; if (substr($0, RSTART + RLENGTH - 3, 1) == "5") e++ }
    END { printf "%d %d", n, e }'
}
compared() {
  path=${1%%"$rp_unit"*} size=${1#*"$rp_unit"}
  if [ "$path" = container: ]; then
    printf '%s before %s after %s\n' "$path" "$(printed --since $((size - 60)) --until "$size" | count)" \
      "$(printed --since "$size" | count)"
    return 0
  fi
  read_end "$path"
  now=$rp_size
  if [ -z "$now" ]; then
    printf '%s unreadable\n' "$path"
    return 0
  fi
  if [ "$now" -lt "$size" ]; then size=0; fi
  # 1 MiB before the switch is a few thousand requests: enough to judge, little to read
  from=$((size - 1048576))
  [ "$from" -ge 0 ] || from=0
  printf '%s before %s after %s\n' "$path" \
    "$(tail_of "+$((from + 1))" "$path" | head -c $((size - from)) | count)" \
    "$(tail_of "+$((size + 1))" "$path" | head -c 16777216 | count)"
}
# printed OPTION…: what a container printed in a time, and of that the newest part.
printed() { in_engine logs --tail 50000 "$@" "$nginx_container" 2>/dev/null; }
[ -z "$nginx_container" ] || find_container
section access
with_log each compared
