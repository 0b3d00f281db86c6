# Words of a change or a hook, and the files that a change puts in the place of others; sent behind lib.sh.
# Takes: word... env... file... cwd=- seconds=60 root=no
# Words are run as the account that we are, or as root where root=yes, never by a shell. An env is NAME=VALUE, and gets to them by their environment
# alone: whoever looks at the host's processes or disks finds none of it. A file is PUT and INTO, or PUT, what is behind INTO,
# and the digests of both; with unit separators between, and `-` where there was none. PUT is a path, `=NAME=VALUE` for what INTO
# says with that value of a variable, or `@TARGET` for a link; the digest of a link is that of where it points.

# told FOLDER: runs the words; 124 where they have not ended in time. What they print is in FOLDER/said, as much as
# is worth reading; without a folder nowhere.
told() {
  rp_pipe=/dev/null rp_reader=
  if [ -n "$1" ] && mkfifo "$1/pipe" 2>/dev/null; then
    rp_pipe=$1/pipe
    # Read to its end, whoever prints without end.
    # shellcheck disable=SC2016 # that shell's own word
    in_session sh -c 'head -c 16384 >"$1"; exec cat >/dev/null' sh "$1/said" <"$rp_pipe" >/dev/null 2>&1 3<&- &
    rp_reader=$!
  fi
  (
    trap - HUP INT TERM PIPE
    # Before a variable of theirs takes the place of one of ours.
    [ "$cwd" = - ] || cd "$cwd" || exit 125
    umask 022
    with_env each export_it
    # A shell of our own leads them: of what became root nobody but root could say whether it still runs.
    # shellcheck disable=SC2016,SC2093 # that shell's own words
    if [ "$root" = yes ] && [ "$sudo" = yes ] && [ "$rp_uid" != 0 ]; then
      with_word in_session sh -c 'sudo -n "$@"; exit "$?"' sh
    fi
    # shellcheck disable=SC2016,SC2093
    with_word in_session sh -c '"$@"; exit "$?"' sh
    exit 125
  ) </dev/null >"$rp_pipe" 2>&1 3<&- &
  rp_command=$!
  rp_rounds=0 rp_ended=124
  read_seconds
  rp_bound=$((rp_seconds + seconds + 1))
  while [ "$rp_seconds" -lt "$rp_bound" ]; do
    if ! kill -0 "$rp_command" 2>/dev/null; then
      rp_ended=0
      wait "$rp_command" || rp_ended=$?
      break
    fi
    rp_rounds=$((rp_rounds + 1))
    if [ "$rp_rounds" -le 20 ]; then pause 0.05; else pause 0.25; fi
    read_seconds
  done
  if [ "$rp_ended" = 124 ]; then end_session "$rp_command"; fi
  if [ -n "$rp_reader" ]; then
    # What a child that they left behind still prints is not waited for.
    wait_a_little "$rp_reader" 6
    kill_session KILL "$rp_reader"
    wait "$rp_reader" 2>/dev/null
    rm -f "$rp_pipe"
  fi
  return "$rp_ended"
}
# shellcheck disable=SC2163 # it is NAME=VALUE
export_it() { export "$1"; }
in_session() { if has setsid; then exec setsid "$@"; else exec "$@"; fi; }
# kill_session SIGNAL PID: it and whatever it has begun.
kill_session() {
  if has setsid; then rp_whom=-$2; else rp_whom=$2; fi
  kill -s "$1" -- "$rp_whom" 2>/dev/null
}
# wait_a_little PID ROUNDS: for its end, so many twentieths of a second.
wait_a_little() {
  rp_rounds=0
  while kill -0 "$1" 2>/dev/null && [ "$rp_rounds" -lt "$2" ]; do
    pause 0.05
    rp_rounds=$((rp_rounds + 1))
  done
}
end_session() {
  kill_session TERM "$1"
  wait_a_little "$1" 40
  kill_session KILL "$1"
  wait "$1" 2>/dev/null
}

# split_file FILE: $put, $live, the digests that they had, and their neighbours. A leading dot keeps those out of most patterns.
split_file() {
  put=${1%%"$rp_unit"*} rp_rest=${1#*"$rp_unit"}
  live=${rp_rest%%"$rp_unit"*} put_sum='' live_sum='' form=text over=-f
  # A link to a folder would be followed into it.
  case $put in @*) form=link over=-fT ;; esac
  case $rp_rest in
    *"$rp_unit"*)
      rp_rest=${rp_rest#*"$rp_unit"}
      put_sum=${rp_rest%%"$rp_unit"*} live_sum=${rp_rest#*"$rp_unit"}
      ;;
  esac
  name_neighbours
}
name_neighbours() {
  folder=${live%/*}
  new=$folder/.${live##*/}.rollback-prod
  kept=$folder/.${live##*/}.before-rollback
}
# each_file COMMAND FILE…: COMMAND for one after the other, as long as it succeeds.
each_file() {
  rp_do=$1
  shift
  for rp_one in "$@"; do
    split_file "$rp_one"
    "$rp_do" || return
  done
}
# read_guard PATH…: who could put something else in their place, or in the way there, into $rp_guard: 0 is root alone, else an
# account's number; `many` where it is more than one. Root follows nobody's names but its own, and ours.
read_guard() {
  rp_guard=0
  for rp_guarded in "$@"; do
    guard_of "$rp_guarded"
    rp_behind=$(readlink -f "$rp_guarded" 2>/dev/null) || rp_behind=$(as_root readlink -f "$rp_guarded" 2>/dev/null)
    [ -z "$rp_behind" ] || [ "$rp_behind" = "$rp_guarded" ] || guard_of "$rp_behind"
  done
}
guard_of() {
  rp_walk=$1 rp_nearest=yes
  while [ -n "$rp_walk" ]; do
    rp_walk=${rp_walk%/*}
    rp_stat=$(stat -L -c '%u %g %a' "${rp_walk:-/}" 2>/dev/null) || rp_stat=$(as_root stat -L -c '%u %g %a' "${rp_walk:-/}" 2>/dev/null)
    rp_who=${rp_stat%% *} rp_mode=${rp_stat##* }
    rp_group=${rp_stat#* }
    rp_group=${rp_group%% *}
    case $rp_who in
      '') rp_guard=many ;;
      0 | "$rp_guard") ;;
      *) if [ "$rp_guard" = 0 ] || [ "$rp_guard" = "$rp_uid" ]; then rp_guard=$rp_who; elif [ "$rp_who" != "$rp_uid" ]; then rp_guard=many; fi ;;
    esac
    # Where only who made a name may take it away (the sticky bit), whoever comes later can still make new ones.
    case $rp_nearest,$rp_mode in no,1???) rp_mode=0 ;; esac
    case $rp_mode in
      *[2367]) rp_guard=many ;;
      *[2367]?) [ "$rp_group" = 0 ] || [ "$rp_group" = "$(id -g)" ] || rp_guard=many ;;
    esac
    rp_nearest=no
  done
}
# by_guard COMMAND…: as whoever the folders belong to.
by_guard() {
  case $rp_guard in
    many) return 1 ;;
    0 | "$rp_uid") as_root "$@" ;;
    *) if [ "$sudo" = yes ]; then sudo -n -u "#$rp_guard" "$@"; else return 1; fi ;;
  esac
}
# read_put: what $put says; where we may not read it, by whoever could have put it there.
read_put() {
  case $put in
    @*) printf '%s' "${put#@}" ;;
    =*) read_live "$live" | with_variable "${put#=}" ;;
    *)
      if [ -r "$put" ]; then
        cat "$put"
      else
        read_guard "$put"
        by_guard cat "$put"
      fi
      ;;
  esac
}
# with_variable NAME=VALUE: standard input with that line in the place of those that set the variable, else behind all.
with_variable() {
  variable=$1 awk '
    BEGIN { name = ENVIRON["variable"]; sub(/=.*/, "=", name) }
    { line = $0; sub(/^[ \t]*(export[ \t]+)?/, "", line) }
    index(line, name) == 1 { if (!done++) print ENVIRON["variable"]; next }
    { print }
    END { if (!done) print ENVIRON["variable"] }'
}
# read_live FILE: the same of one beside $live.
read_live() {
  if [ "$form" = link ]; then
    readlink -n "$1"
  elif [ -r "$1" ]; then
    cat "$1"
  else
    read_guard "$live"
    by_guard cat "$1"
  fi
}

# is_own_file: whether we may replace $live ourselves, and its owner would stay.
is_own_file() { [ -w "$folder/" ] && { [ "$form" = link ] || [ ! -e "$live" ] || { [ -O "$live" ] && is_own_group; }; }; }
# A copy by somebody who is not of the file's group would be of another one.
is_own_group() {
  rp_group=$(stat -c %g "$live" 2>/dev/null)
  case " $(id -G) " in *" $rp_group "*) return 0 ;; *) return 1 ;; esac
}
on_file() {
  if is_own_file; then
    "$@"
  else
    read_guard "$live"
    by_guard "$@"
  fi
}

# sum_of COMMAND FILE: the file's digest into $rp_sum, as the command reads it; `-` where there is none, nothing where it
# cannot be read or is no file. Never opened before that is known: whoever opens a FIFO is held there.
sum_of() {
  rp_sum=
  if [ "$form" = link ]; then
    if [ "$1" = read_put ] || [ -L "$2" ]; then
      rp_sum=$("$1" "$2" | sha256sum)
      rp_sum=${rp_sum%% *}
    elif [ ! -e "$2" ]; then
      rp_sum=-
    fi
    return 0
  fi
  # What a variable is set in says both.
  case $1,$put in read_put,=*) set -- "$1" "$live" ;; esac
  rp_stat=$(stat -L -c %F "$2" 2>/dev/null) || rp_stat=$(as_root stat -L -c %F "$2" 2>/dev/null)
  rp_empty=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  case $rp_stat in
    'regular empty file') rp_sum=$rp_empty ;;
    *regular*)
      rp_sum=$("$1" "$2" 2>/dev/null | sha256sum)
      rp_sum=${rp_sum%% *}
      # Of one that is not empty: it could not be read.
      [ "$rp_sum" != "$rp_empty" ] || rp_sum=
      ;;
    '') if [ ! -e "$2" ] && [ ! -L "$2" ]; then rp_sum=-; fi ;;
  esac
}
