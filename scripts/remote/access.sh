# Statuses in nginx's access logs before and after a moment (a size of each log). Counts only; only asks.
# Takes: log... since
# Before that moment only lines of the last `since` seconds count: a log that nobody writes to any more tells of other times.
# A log is PATH US SIZE: where it ended at the switch (read_end in nginx.sh); lines behind that are "after".
# Section access: for each log "PATH before TOTAL ERRORS SECONDS CLIENTS FORM after TOTAL ERRORS SECONDS CLIENTS FORM", or "PATH unreadable";
# SECONDS are AT:TOTAL:ERRORS of each second, by the host's clock since 1970, with commas between them, or "-" where no line tells a
# time. CLIENTS is of how many addresses the errors are, "-" where a line of one tells none, with a "+" where there were more than are counted.
# FORM is "own" where a line was of the format that `check` proposes, whose log mostly lies beside another one of the same requests.
count() {
  # The status is the field after the quoted request, in `combined` and all formats that begin like it; in JSON it has a name.
  # The time is nginx's $time_local or $time_iso8601; a line without one counts.
  awk -v oldest="${1:-0}" '
    BEGIN { split("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", name, " "); for (m in name) month[name[m]] = m + 0 }
    # Seconds since 1970 of a civil time, by the days of years that begin in March.
    function seconds(y, m, d, clock, zone,    t, z) {
      if (m <= 2) { y--; m += 12 }
      split(clock, t, ":")
      z = (substr(zone, 2, 2) * 60 + substr(zone, length(zone) - 1)) * 60
      if (substr(zone, 1, 1) == "-") z = -z
      return (365 * y + int(y / 4) - int(y / 100) + int(y / 400) + int((153 * m - 457) / 5) + d - 719469) * 86400 \
        + t[1] * 3600 + t[2] * 60 + t[3] - z
    }
    { at = ""; address = $1; status = "" }
    # The format that check proposes: $msec|$remote_addr|$status|...
    /^[0-9]+[.][0-9][0-9][0-9][|][^|]*[|][1-5][0-9][0-9][|]/ {
      split($0, part, "|")
      at = sprintf("%d", part[1]); when[at] = at + 0
      address = part[2]; status = part[3]; own = 1
    }
    status == "" && match($0, /[0-3][0-9]\/[A-Z][a-z][a-z]\/[0-9][0-9][0-9][0-9]:[0-9][0-9]:[0-9][0-9]:[0-9][0-9] [+-][0-9][0-9][0-9][0-9]/) {
      at = substr($0, RSTART, RLENGTH)
      if (!(at in when)) when[at] = seconds(substr(at, 8, 4), month[substr(at, 4, 3)], substr(at, 1, 2), substr(at, 13, 8), substr(at, 22))
    }
    at == "" && match($0, /[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9][+-][0-9][0-9]:?[0-9][0-9]/) {
      at = substr($0, RSTART, RLENGTH)
      if (!(at in when)) when[at] = seconds(substr(at, 1, 4), substr(at, 6, 2) + 0, substr(at, 9, 2), substr(at, 12, 8), substr(at, 20))
    }
    oldest && at != "" && when[at] < oldest { next }
    function counted(status) {
      n++
      # Whoever writes the lines does not say how long the answer gets.
      if (at != "" && !(when[at] in total) && ++told > 3000) at = ""
      if (at != "") total[when[at]]++
      if (substr(status, 1, 1) == "5") { e++; if (at != "") errors[when[at]]++; of_client() }
    }
    # Whose request failed: the first word of the line in `combined`, a name in JSON. Only those of errors are looked at.
    function of_client(    who) {
      who = address
      if (match($0, /"(remote_addr|remote_ip|client_ip|client)" *: *"[0-9a-fA-F.:]+"/)) {
        who = substr($0, RSTART, RLENGTH - 1)
        sub(/.*"/, "", who)
      }
      if (who !~ /^[0-9a-fA-F.:]+$/ || who !~ /[.:].*[.:]/) { untold = 1; return }
      if (who in client) return
      if (clients >= 10000) more = "+"; else { client[who]; clients++ }
    }
    status != "" { counted(substr(status, 1, 1)); next }
    match($0, /" [1-5][0-9][0-9] /) { counted(substr($0, RSTART + 2, 1)); next }
    match($0, /"(http_|response_)?(status|code)" *: *"?[1-5][0-9][0-9]/) { counted(substr($0, RSTART + RLENGTH - 3, 1)) }
    END {
      printf "%d %d ", n, e
      for (s in total) { printf "%s%d:%d:%d", comma, s, total[s], errors[s]; comma = "," }
      if (comma == "") printf "-"
      if (untold) printf " -"; else printf " %s", clients + 0 more
      print (own ? " own" : " other")
    }'
}
compared() {
  path=${1%%"$rp_unit"*} size=${1#*"$rp_unit"}
  if [ "$path" = container: ]; then
    printf '%s before %s after %s\n' "$path" "$(printed --since "$((size - since))" --until "$size" | count)" \
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
    "$(tail_of "+$((from + 1))" "$path" | head -c $((size - from)) | count "$oldest")" \
    "$(tail_of "+$((size + 1))" "$path" | head -c 16777216 | count)"
}
# printed OPTION…: what a container printed in a time, and of that the newest part.
printed() { in_engine logs --tail 50000 "$@" "$nginx_container" 2>/dev/null; }
[ -z "$nginx_container" ] || find_container
oldest=$(date +%s)
oldest=$((oldest - since))
section access
with_log each compared
