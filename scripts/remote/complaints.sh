# Counts the lines of a side's own log that say that something is wrong, among its newest.
# Takes: log kind name file project pattern fold=no lines=1000 since=0
# pattern is for grep -E, fold=yes makes no difference between upper and lower case; since are the bytes of the log that were
#   there before, of what a container prints the seconds since 1970. A side without a log of its own is asked by its kind.
# Sections: end (where it ends now), counted (MATCHED TOTAL). Exit: 0; 3 there is nothing that could be read
newest() {
  case $kind in
    file)
      rp_from=$since
      # A log that is shorter than it was is another one.
      [ "$rp_size" -ge "$rp_from" ] || rp_from=0
      [ $((rp_size - rp_from)) -le 1048576 ] || rp_from=$((rp_size - 1048576))
      rp_tail="tail -c +$((rp_from + 1))"
      # shellcheck disable=SC2086 # words
      if [ -r "$log" ]; then $rp_tail "$log"; else as_root $rp_tail "$log"; fi
      ;;
    docker | compose) docker logs --since "$since" --tail "$lines" "$name" 2>&1 ;;
    systemd) rp_journal | tail -n "$lines" ;;
  esac 2>/dev/null | tail -n "$lines" | tail -c 1048576
}
rp_journal() {
  set -- -u "$name" --since "@$since" -n "$lines" -o cat -q --no-pager
  journalctl "$@" 2>/dev/null || as_root journalctl "$@" 2>/dev/null
}

case $kind in
  file)
    read_size "$log"
    [ -n "$rp_size" ] || return 3
    [ -r "$log" ] || as_root tail -c 1 "$log" >/dev/null 2>&1 || return 3
    ;;
  docker) docker logs --tail 1 "$name" >/dev/null 2>&1 || return 3 ;;
  compose)
    name=$(container_of "$file" "$project" "$name")
    [ -n "$name" ] && docker logs --tail 1 "$name" >/dev/null 2>&1 || return 3
    ;;
  systemd) journalctl -u "$name" -n 1 -q >/dev/null 2>&1 || as_root journalctl -u "$name" -n 1 -q >/dev/null 2>&1 || return 3 ;;
  *) return 3 ;;
esac
if [ "$kind" != file ]; then rp_size=$(date +%s); fi
section end
printf '%s' "$rp_size"
# At the first look nothing of it is of this share.
if [ "$since" = 0 ]; then return 0; fi
rp_lines=$(newest && printf x)
rp_lines=${rp_lines%x}
section counted
rp_fold=
[ "$fold" = no ] || rp_fold=-i
# shellcheck disable=SC2086 # no word, or one
rp_matched=$(printf '%s' "$rp_lines" | grep -a -c -E $rp_fold -e "$pattern")
# grep has no word for a pattern that it does not read.
[ -n "$rp_matched" ] || return 3
printf '%s %s' "$rp_matched" "$(printf '%s' "$rp_lines" | grep -a -c '')"
