# How a change stands on this host: what its files are, and whether it is in force. Only asks; leaves nothing behind.
# Takes: service name asks=no program... right...
# asks=yes: the words are run, which end with 0 where it is in force. A step of an earlier run that is at work on it is waited
# for, as long as words may take. A program is looked for, where it is no matter of files.
# A right is a command, as words, that sudo must allow.
# Sections: missing (commands that it does not); at_work (the step that still is), lacking (of a program, why it cannot be run); for each file a `file` (its lines:
#   live PATH, put DIGEST, into DIGEST, owner WHOSE, why WORDS, missing WORDS), a `put` and an `into` (what they say, where that is
#   text of a size to read); check.status (what the words ended with).

# join_work: what it leaves is what is true.
join_work() {
  records "$service" | while IFS= read -r rp_record; do
    case ${rp_record##*/} in *.change-"$name" | *.undo-"$name") ;; *) continue ;; esac
    read_seconds
    rp_bound=$((rp_seconds + seconds))
    while is_at_work "$rp_record" && [ "$rp_seconds" -lt "$rp_bound" ]; do
      pause 0.25
      read_seconds
    done
    ! is_at_work "$rp_record" || printf '%s' "${rp_record##*/}"
  done
}
if [ -n "$name" ]; then
  section at_work
  join_work
fi
look_for() {
  section lacking
  [ "$cwd" = - ] || cd "$cwd" 2>/dev/null || printf 'its folder %s is not there' "$cwd"
  case $1 in
    */*) if [ ! -f "$1" ]; then printf 'there is no %s' "$1"; elif [ ! -x "$1" ]; then printf '%s is not executable' "$1"; fi ;;
    *) has "$1" || printf 'there is no program %s' "$1" ;;
  esac
}
with_program each look_for
tell_file() {
  section file
  if [ "$form" = link ]; then
    rp_behind=$(live_place "$live" 2>/dev/null)
  else
    rp_behind=$(readlink -f "$live" 2>/dev/null) || rp_behind=$(as_root readlink -f "$live" 2>/dev/null)
  fi
  if [ -z "$rp_behind" ]; then
    printf 'why there is no folder that it could stand in\n'
    return 0
  fi
  # A link in a folder is not the file that somebody meant who named the folder; one on the way there is.
  if [ "${rp_behind%/*}/" != "$(readlink -f "${live%/*}/" 2>/dev/null | sed 's,/*$,/,')" ]; then
    printf 'why it is a link out of its folder, to %s: name that\n' "$rp_behind"
    return 0
  fi
  live=$rp_behind
  name_neighbours
  printf 'live %s\n' "$live"
  sum_of read_put "$put"
  put_sum=$rp_sum
  printf 'put %s\n' "$put_sum"
  sum_of read_live "$live"
  live_sum=$rp_sum
  printf 'into %s\n' "$live_sum"
  printf 'owner %s\n' "$(stat -c '%U:%G %a' "$live" 2>/dev/null || as_root stat -c '%U:%G %a' "$live" 2>/dev/null)"
  if [ "$rp_uid" != 0 ]; then tell_rights; fi
  section put
  tell_text read_put "$put"
  section into
  tell_text read_live "$live"
}
# tell_rights: what sudo would have to allow; change.sh uses exactly these words.
tell_rights() {
  case $put in @* | =*) rp_reads=no ;; *) rp_reads=yes ;; esac
  if [ "$rp_reads" = yes ] && [ "$put_sum" != - ] && [ ! -r "$put" ]; then
    read_guard "$put"
    may_be_root "$put" || return 0
    needs cat "$put"
  fi
  if is_own_file && { [ "$live_sum" != - ] || [ "$rp_reads" = no ] || [ -r "$put" ]; }; then return 0; fi
  read_guard "$live"
  may_be_root "$live" || return 0
  if [ "$form" = link ]; then
    needs ln -s "${put#@}" "$new"
    needs rm -f "$kept"
    needs cp -a "$live" "$kept"
    needs mv "$over" "$kept" "$live"
  elif [ "$live_sum" = - ]; then
    needs cp -a "$put" "$new"
    needs rm -f "$live"
  else
    needs cp -a "$live" "$new"
    needs tee "$new"
    needs ln -f "$live" "$kept"
    needs mv "$over" "$kept" "$live"
  fi
  # What takes a place may be read by no others.
  if [ "$form" = link ]; then
    :
  elif { [ "$live_sum" = - ] && [ ! -r "$put" ]; } || { [ "$live_sum" != - ] && [ ! -r "$live" ]; }; then
    for rp_path in "$live" "$new" "$kept"; do needs cat "$rp_path"; done
  fi
  needs mv "$over" "$new" "$live"
  needs rm -f "$new"
}
# may_be_root PATH: whether it can be done as somebody whom nobody leads astray; else why not.
may_be_root() {
  if [ "$sudo" != yes ]; then
    printf 'why %s is of another account, and the config says sudo = false\n' "$1"
    return 1
  fi
  case $rp_guard in
    0 | "$rp_uid") return 0 ;;
    many) printf 'why others than its owner may write to a folder on the way to %s: root follows nobody there\n' "$1" ;;
    *)
      rp_name=$(stat -L -c %U "${1%/*}" 2>/dev/null)
      sudo -n -l -u "#$rp_guard" true >/dev/null 2>&1 ||
        printf 'why %s is in a folder of %s, and sudo does not allow us to be that account: root follows nobody there\n' "$1" "${rp_name:-$rp_guard}"
      ;;
  esac
  return 1
}
needs() { sudo -n -l "$@" >/dev/null 2>&1 || printf 'missing %s\n' "$*"; }
tell_text() {
  if [ "$form" = link ]; then
    "$1" "$2" 2>/dev/null
    return 0
  fi
  case $2 in =*) read_size "$live" ;; *) read_size "$2" ;; esac
  if [ -n "$rp_size" ] && [ "$rp_size" -le 65536 ]; then "$1" "$2" 2>/dev/null; fi
}
lacks_right() {
  if [ "$sudo" = yes ] && [ "$rp_uid" != 0 ]; then words_by needs "$1"; fi
}
section missing
with_right each lacks_right
with_file each_file tell_file
if [ "$asks" = yes ]; then
  section check.status
  rp_status=0
  told '' || rp_status=$?
  printf '%s' "$rp_status"
fi
