# Writes what nginx serves by, proves it, or puts the old file back; sent behind nginx.sh.
# Takes: form=content live before after test reload pidfile log... access... probe probe_host=- limit=10 passes=3 who
# Takes: header other_header body other_body get... alone=no inside also... was... shall... lookup...
# alone=yes: a container has the file, and its folder not, and would keep the one that it has if another took its place: it is
#   written over. inside is where it has it. also are files that are changed with live: before and after are what
#   all of them say then, was and shall what each does. A lookup is a name in a get that only the container may know.
# who is the side that shall answer. What tells its answers is header (a line of the head) or body (the whole body), and
#   other_header or other_body what tells those of the side that must not any more; without it an answer counts once the old
#   workers have stopped accepting. A get `direct` asks a server of who without nginx.
# each_file COMMAND FILE…: COMMAND with $file, what it said ($was) and is to say ($shall), the $new one beside it and the $old
# one. `with_also each_file COMMAND "$live"` is all of them.
each_file() {
  rp_do=$1 rp_number=0
  shift
  for file in "$@"; do
    folder=${file%/*}
    # A leading dot keeps both out of every include pattern of nginx, which follows glob(7).
    new=$folder/.${file##*/}.rollback-prod
    old=$new-before
    was=$before shall=$after
    if [ "$#" -gt 1 ]; then
      # Not cut out of the whole: a shell takes the square of its length for that.
      with_was nth "$rp_number" && was=$rp_nth
      with_shall nth "$rp_number" && shall=$rp_nth
    fi
    rp_number=$((rp_number + 1))
    "$rp_do" || return
  done
}
# nth NUMBER VALUE…: the value of that number, from 0, into $rp_nth.
nth() {
  [ "$#" -gt "$(($1 + 1))" ] || return 1
  shift "$(($1 + 1))"
  rp_nth=$1
}
# may_go_on: whether nobody has taken the lock since we began. Another account of ours may not see the number itself.
may_go_on() {
  [ -n "$number" ] || return 0
  latest "$group"
  [ "$rp_latest" -le "$number" ] || [ "$rp_latest_of" = "$holder" ]
}
all_files() { with_also each_file "$1" "$live"; }

# on_file COMMAND…: as root, unless the file and its folder are ours anyway: facts.sh asks for no right then.
on_file() { if may_replace "$file"; then "$@"; else as_root "$@"; fi; }

# say TEXT: whether the files say that, to the last newline.
say() {
  rp_text=$(with_also tell_all "$live" && printf x) || return 1
  [ "$rp_text" = "${1}x" ]
}

# write_over FILE TEXT: without a program where we may write it ourselves.
write_over() {
  if [ -w "$1" ]; then printf '%s' "$2" >"$1"; else printf '%s' "$2" | as_root tee "$1" >/dev/null; fi
}
write_beside() {
  if [ "$alone" = yes ]; then
    # For whoever comes when this host lost its power in the middle of it. We ourselves know what it said.
    on_file cp -a "$file" "$old" || return 1
    on_file sync "$old" 2>/dev/null || sync
    return 0
  fi
  if [ "$form" = link ]; then
    # Into a folder that it points at mv would go, and not into its place.
    [ ! -d "$file" ] || return 1
    on_file ln -sfn "$shall" "$new" && on_file ln -sfn "$was" "$old"
    return
  fi
  on_file cp -a "$file" "$new" || return 1
  write_over "$new" "$shall" || return 1
  rp_text=$(says "$new" && printf x) || return 1
  [ "$rp_text" = "${shall}x" ] || return 1
  on_file sync "$new" 2>/dev/null || sync
  on_file ln -f "$file" "$old" 2>/dev/null || on_file cp -a "$file" "$old"
}

# replace: what is beside it, or was there before, takes its place.
replace() {
  if [ "$alone" = yes ]; then write_over "$file" "$shall" && say "$after"; else on_file mv -f "$new" "$file"; fi
}
# One that cannot be brought back keeps none of the others from it; what the files say then tells whether all were.
bring_back() {
  if [ "$alone" = yes ]; then write_over "$file" "$was"; else on_file mv -f "$old" "$file"; fi
  return 0
}
clear_away() { on_file rm -f "$new" "$old"; }
# Also those of an earlier run that lost its power between two of its commands.
clear_what_is_left() {
  if [ "$replaced" = yes ] || is_left "$new" || is_left "$old"; then clear_away; fi
}
flush() {
  if [ "$alone" = yes ]; then rp_flushed=$file; else rp_flushed=$folder; fi
  on_file sync "$rp_flushed" 2>/dev/null || sync
}

# is_seen_inside: whether the container has what was written. Who put another file in the place of one that alone is mounted
# did so for this host only.
is_seen_inside() {
  [ -n "$nginx_container" ] || return 0
  case $form in link) rp_text=$(in_container readlink -n "$inside" && printf x) ;; *) rp_text=$(in_container cat "$inside" && printf x) ;; esac
  [ "$rp_text" = "${after}x" ]
}

put_back() {
  section put_back
  # Whoever came after us has written what shall be.
  if ! may_go_on; then
    printf 'another run has the lock by now'
    return 1
  fi
  if [ "$replaced" = no ]; then
    # The file said so before we came: there is nothing of ours to take back.
    printf 'nothing to put back: the file said so before\n'
  elif all_files bring_back && say "$before"; then
    all_files flush
    [ "$alone" = no ] || all_files clear_away
    if nginx_words "$test" 2>&1 && nginx_words "$reload" 2>&1; then return 0; fi
  else
    return 1
  fi
  # Where nginx started no worker meanwhile, what was served before still is. A reload needs about 0.1 s to show.
  pause 1
  look
  [ "$is_new" = no ]
}

give_up() {
  section why
  printf '%s' "$2"
  if put_back; then return "$1"; fi
  return 30
}

# look: is there a worker that was not there before, and does one from before still accept?
look() {
  is_new=no old_accepts=no
  read_workers "$master"
  for rp_w in $rp_open; do
    case "$workers_before " in *" $rp_w "*) old_accepts=yes ;; *) is_new=yes ;; esac
  done
}

# is_served: whether the probe is answered by who, $passes times in a row; and once an answer was the other side's although
# no worker from before accepts, as many times as a share of one in ten does not pass by chance.
is_served() {
  set --
  rp_n=0
  [ "$disproved" = no ] || passes=60
  while [ "$rp_n" -lt "$passes" ]; do
    rp_n=$((rp_n + 1))
    set -- "$@" "probe${rp_unit}2$rp_unit$probe_host$rp_unit$probe"
  done
  rp_judged=$(fetch_all "$@" | judged probe)
  rp_good=${rp_judged%% *}
  case $rp_judged in *' other') rp_seen=other disproved=$after_them ;; *) rp_seen= ;; esac
  [ "$rp_good" = "$passes" ]
}

# is_no_mark: whether who itself gives an answer without it, as one does that puts the number of its process there.
is_no_mark() {
  case $(with_get fetch | judged direct) in *' unmarked'*) ;; *) return 1 ;; esac
}

# judged NAME: of the answers on standard input to gets of that name, how many are good; behind it `unmarked` where one
# that came has not the mark, and `other` where one has the other side's. What comes after plenty is not judged: a page
# without end is no answer of anybody.
judged() {
  nonce=$rp_nonce name=$1 header=$header other_header=$other_header body=$body other_body=$other_body plenty=$rp_plenty awk '
    BEGIN {
      nonce = ENVIRON["nonce"]; name = ENVIRON["name"]; plenty = ENVIRON["plenty"] + 0
      header = tolower(ENVIRON["header"]); other_header = tolower(ENVIRON["other_header"])
      body = ENVIRON["body"]; other_body = ENVIRON["other_body"]
    }
    function judge(code) {
      if (code == "wget") code = status
      if (code + 0 < 200 || code + 0 >= 500) return
      if (is_other || (other_body != "" && text == other_body)) { other = 1; return }
      if ((header != "" && !marked) || (body != "" && text != body)) { unmarked = 1; return }
      good++
    }
    { gsub(/\r/, ""); plenty -= length($0) + 1; if (plenty < 0) exit }
    expecting { judge($1); expecting = 0; next }
    $1 == nonce && $2 == name { inhead = 1; marked = 0; is_other = 0; text = ""; status = 0; next }
    $1 == nonce && $2 == name ".code" { sub(/\n$/, "", text); expecting = 1; next }
    inhead && /^HTTP\// { status = $2 }
    inhead && $0 == "" { inhead = 0; next }
    inhead {
      line = tolower($0)
      if (line == header) marked = 1
      if (other_header != "" && line == other_header) is_other = 1
      next
    }
    { text = text $0 "\n" }
    END { print good + 0 (unmarked ? " unmarked" : "") (other ? " other" : "") }'
}

# took_it: whether nginx has complained since before the reload; the only place where it says that it goes on as before.
took_it() {
  with_log read_emerg
  [ "$rp_emerg" != "$emerg_before" ] || return 0
  # Of several logs, and where an old line was pushed out of what is looked at: only what was not there before is new.
  rp_new=$(printf '%s\n' "$rp_emerg" | while IFS= read -r rp_line; do
    case "
$emerg_before
" in
      *"
$rp_line
"*) ;;
      *) printf '%s\n' "$rp_line" ;;
    esac
  done)
  [ -n "$rp_new" ] || return 0
  cause="nginx did not take the new configuration: $rp_new"
  return 1
}

# is_applied: the same master has workers that were not there before, and has not complained.
is_applied() {
  read_master "$pidfile"
  if [ "$rp_master" != "$master" ]; then
    cause='nginx has another master than before'
    return 1
  fi
  look
  if [ "$is_new" = no ]; then
    cause='nginx started no new workers'
    return 1
  fi
  cause="the probe was not answered by $who"
}

# is_who: whether the probe is answered by who and nobody else. Once no worker from before accepts any answer is theirs that
# the new configuration sends to, which is nobody but who, but for one with the other side's mark, which disproves.
is_who() {
  after_them=no
  [ "$old_accepts" = yes ] || after_them=yes
  if [ -n "$header$body" ] && is_served; then return 0; fi
  [ "$old_accepts" = no ] || return 1
  if [ -n "$header$body" ] && is_no_mark; then header='' body=''; fi
  cause="$who does not answer the probe through nginx"
  if [ -z "$header$body" ] && is_served; then return 0; fi
  [ "$rp_seen" != other ] || cause="answers through nginx still bear the mark of the side that must not serve"
  return 1
}

proven() {
  rp_until=
  rp_round=0
  applied=no rp_seen='' disproved=no
  while :; do
    if [ "$applied" = yes ]; then
      look
    else
      if is_applied; then applied=yes; fi
      took_it || return 1
    fi
    rp_round=$((rp_round + 1))
    # Workers from before accept for another 0.1 s after a reload, and on an idle host they take every request of it: until
    # then there is nothing to ask, and looking costs nothing. Should one accept for longer, a mark tells who answers.
    if [ "$applied$old_accepts" = yesyes ] && [ "$rp_round" -lt 20 ]; then
      pause 0.005
      continue
    fi
    if [ "$applied" = yes ] && is_who; then return 0; fi
    # A bound in seconds of the host's own clock; each round pauses, so it cannot spin.
    rp_now=$(date +%s)
    [ -n "$rp_until" ] || rp_until=$((rp_now + limit))
    if [ "$rp_now" -ge "$rp_until" ]; then
      took_it
      return 1
    fi
    pause 0.02
  done
}

switch() {
  section steps
  replaced=no
  is_needed=yes
  current=$(with_also tell_all "$live" && printf x)
  if [ "$current" = "${after}x" ]; then
    is_needed=no
    printf 'the file already says so\n'
  elif [ "$current" != "${before}x" ]; then
    return 10
  fi
  if [ -n "$nginx_container" ]; then
    find_container || return 11
    with_lookup look_up
  fi
  read_master "$pidfile"
  master=$rp_master
  [ -n "$master" ] || return 11
  # Written while we look at what is: the disk need not wait for the processes, nor they for it.
  writer=
  if [ "$is_needed" = yes ]; then
    all_files write_beside &
    writer=$!
  fi
  read_workers "$master"
  workers_before=$rp_open
  with_log read_emerg
  emerg_before=$rp_emerg
  if [ "$is_needed" = yes ]; then
    if ! wait "$writer"; then
      all_files clear_away 2>/dev/null
      return 12
    fi
    if ! may_go_on; then
      all_files clear_away
      section why
      printf 'it took the lock just now'
      return 93
    fi
    # Of several files nginx reads none before it is told to; should one not take its place, all go back.
    if ! all_files replace; then
      all_files bring_back
      if say "$before"; then
        all_files clear_away
        return 12
      fi
      section why
      printf 'the new file could not be put in its place'
      return 30
    fi
    replaced=yes
    printf 'file replaced\n'
    is_seen_inside || { give_up 22 "the container does not see what was written to $live"; return; }
  fi
  section test
  nginx_words "$test" 2>&1 || { give_up 20 'nginx refuses the file'; return; }
  section reload
  nginx_words "$reload" 2>&1 || { give_up 21 'the reload failed'; return; }
  # Behind the reload, where it costs nobody anything: nginx lets its old workers accept for another 0.1 s.
  [ "$replaced" = no ] || all_files flush
  section access
  with_access each measured
  if proven; then
    all_files clear_what_is_left
    return 0
  fi
  give_up 22 "$cause"
}

# A link that points at nothing is something all the same.
is_left() { [ -e "$1" ] || [ -L "$1" ]; }

measured() {
  read_end "$1"
  [ -z "$rp_size" ] || printf '%s %s\n' "$1" "$rp_size"
}
