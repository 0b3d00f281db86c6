# Makes a change on this host, or takes it back, or runs the words of a hook: to its end or back again, whoever dies
# meanwhile. Safe to run twice.
# Takes: service run holder number name back=no
# name is what the step is called, back=yes takes it back: the words are those that do, and the files what they were.
# Files take their places by a rename each, with the owner, the mode and the labels of what they replace, which is kept
# beside it; then the words are run, and where they fail the files go back. The other way round it is the words first.
# Sections: said (what the words printed), status (what they ended with), why. Exit: 0 done; 10 a file is not what it was when
#   it was looked at; 12 a file could not be written beside the old one (10 and 12: nothing was changed); 20 the words failed;
#   21 they had not ended in time (20 and 21: the files are as before); 30 a file could not be put back; 91 the job was killed;
#   93 the lock is another run's by now (section why): nothing was changed

changed() {
  section why
  printf '%s is not what it was when it was looked at' "$live"
}

write_beside() {
  # Of a run that lost its power here.
  clear_away
  sum_of read_live "$live"
  [ "$rp_sum" != "$put_sum" ] || return 0
  if [ "$rp_sum" != "$live_sum" ]; then
    changed
    return 10
  fi
  if [ "$form" = link ]; then
    on_file ln -s "${put#@}" "$new" || return 12
    return 0
  fi
  if [ "$live_sum" = - ]; then
    # It gets the owner and the mode of what it is a copy of, which we may not be the ones to read.
    if [ -r "$put" ]; then on_file cp -a "$put" "$new"; else as_whoever_may cp -a "$put" "$new"; fi || return 12
  else
    on_file cp -a "$live" "$new" || return 12
    if [ -w "$new" ]; then read_put >"$new"; else read_put | on_file tee "$new" >/dev/null; fi
  fi
  is_whole || return 12
  on_file sync "$new" 2>/dev/null || sync
}
as_whoever_may() {
  read_guard "$put" "$live"
  by_guard "$@"
}
is_whole() {
  sum_of read_live "$new"
  [ "$rp_sum" = "$put_sum" ]
}
replace() {
  if [ ! -e "$new" ] && [ ! -L "$new" ]; then return 0; fi
  is_whole || return 12
  sum_of read_live "$live"
  if [ "$rp_sum" != "$live_sum" ]; then
    changed
    return 10
  fi
  if [ "$form" = link ]; then
    # A link that leads to a folder would be followed by what copies and moves.
    on_file rm -f "$kept" && on_file cp -a "$live" "$kept" || return 12
  elif [ "$live_sum" != - ]; then
    on_file ln -f "$live" "$kept" 2>/dev/null || on_file cp -a "$live" "$kept" || return 12
  fi
  on_file mv "$over" "$new" "$live" || return 12
  on_file sync "$folder" 2>/dev/null || sync
}
# A failure of one keeps no other from it.
bring_back() {
  sum_of read_live "$live"
  [ "$rp_sum" != "$live_sum" ] || return 0
  if [ "$rp_sum" != "$put_sum" ]; then
    changed
    rp_back=10
  elif [ "$live_sum" = - ]; then
    on_file rm -f "$live" || rp_back=30
  else
    sum_of read_live "$kept"
    if [ "$rp_sum" = "$live_sum" ]; then
      on_file mv "$over" "$kept" "$live" || rp_back=30
    else
      section why
      printf 'what %s was is not in %s any more' "$live" "$kept"
      rp_back=30
    fi
  fi
  on_file sync "$folder" 2>/dev/null || sync
}
bring_back_ours() {
  sum_of read_live "$live"
  [ "$rp_sum" != "$put_sum" ] || bring_back
}
clear_away() { if [ -e "$new" ] || [ -L "$new" ]; then on_file rm -f "$new"; fi; }
files_back() {
  rp_back=0
  with_file each_file bring_back
  return "$rp_back"
}

# do_words: fails as the whole does.
do_words() {
  with_word any || return 0
  rp_folder=
  if [ -d "${rp_job-}" ] && is_ours "$rp_job"; then rp_folder=$rp_job; fi
  rp_words=0
  told "$rp_folder" || rp_words=$?
  section said
  [ -z "$rp_folder" ] || cat "$rp_folder/said" 2>/dev/null
  section status
  printf '%s' "$rp_words"
  case $rp_words in
    0) return 0 ;;
    124) return 21 ;;
    *) return 20 ;;
  esac
}
any() { [ "$#" -gt 0 ]; }

work() {
  if [ "$back" = yes ]; then
    do_words || return
    files_back
    return
  fi
  rp_beside=0
  with_file each_file write_beside || rp_beside=$?
  if [ "$rp_beside" != 0 ]; then
    with_file each_file clear_away 2>/dev/null
    return "$rp_beside"
  fi
  with_file each_file replace || rp_beside=$?
  if [ "$rp_beside" != 0 ]; then
    with_file each_file clear_away 2>/dev/null
    # Those that were replaced before the one that was not; one that somebody else changed is left as he made it.
    rp_back=0
    with_file each_file bring_back_ours
    [ "$rp_back" = 0 ] || return 30
    return "$rp_beside"
  fi
  rp_done=0
  do_words || rp_done=$?
  [ "$rp_done" != 0 ] || return 0
  files_back || return 30
  return "$rp_done"
}

if fenced "$group" "$holder" "$number"; then return 93; fi
detached "$service" "$run.$name" work
