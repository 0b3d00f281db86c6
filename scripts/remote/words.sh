# Words of a change or a hook, and the files that a change puts in the place of others; sent behind lib.sh.
# Takes: word... env... file... cwd=- seconds=60
# Words are run as the account that we are, never by a shell. An env is NAME=VALUE, and gets to them by their environment
# alone: whoever looks at the host's processes or disks finds none of it. A file is PUT and INTO, or PUT, what is behind INTO,
# and the digests of both; with unit separators between, and `-` where there was none.

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
    with_env each export_it
    [ "$cwd" = - ] || cd "$cwd" || exit 125
    umask 022
    # shellcheck disable=SC2093 # where there are no words, there is nothing to run
    with_word in_session
    exit 125
  ) </dev/null >"$rp_pipe" 2>&1 3<&- &
  rp_command=$!
  rp_rounds=0 rp_ended=124
  while [ "$rp_rounds" -lt $((seconds * 4 + 16)) ]; do
    if ! kill -0 "$rp_command" 2>/dev/null; then
      rp_ended=0
      wait "$rp_command" || rp_ended=$?
      break
    fi
    rp_rounds=$((rp_rounds + 1))
    if [ "$rp_rounds" -le 20 ]; then pause 0.05; else pause 0.25; fi
  done
  if [ "$rp_ended" = 124 ]; then end_session "$rp_command"; fi
  if [ -n "$rp_reader" ]; then
    # What a child that they left behind still prints is not waited for.
    rp_rounds=0
    while kill -0 "$rp_reader" 2>/dev/null && [ "$rp_rounds" -lt 6 ]; do
      pause 0.05
      rp_rounds=$((rp_rounds + 1))
    done
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
end_session() {
  kill_session TERM "$1"
  rp_rounds=0
  while kill -0 "$1" 2>/dev/null && [ "$rp_rounds" -lt 20 ]; do
    pause 0.1
    rp_rounds=$((rp_rounds + 1))
  done
  kill_session KILL "$1"
  wait "$1" 2>/dev/null
}

# split_file FILE: $put, $live, the digests that they had, and their neighbours. A leading dot keeps those out of most patterns.
split_file() {
  put=${1%%"$rp_unit"*} rp_rest=${1#*"$rp_unit"}
  live=${rp_rest%%"$rp_unit"*} put_sum='' live_sum=''
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
# is_own_file: whether we may replace $live ourselves, and its owner would stay.
is_own_file() { [ -w "$folder/" ] && { [ ! -e "$live" ] || [ -O "$live" ]; }; }
on_file() { if is_own_file; then "$@"; else as_root "$@"; fi; }

# read_sum FILE: its digest into $rp_sum; `-` where there is none, nothing where it cannot be read or is no file. Never
# opened before that is known: whoever opens a FIFO is held there.
read_sum() {
  rp_sum=
  rp_stat=$(stat -L -c %F "$1" 2>/dev/null) || rp_stat=$(as_root stat -L -c %F "$1" 2>/dev/null)
  case $rp_stat in
    *regular*)
      rp_sum=$(read_whole "$1" 2>/dev/null | sha256sum)
      rp_sum=${rp_sum%% *}
      # Of nothing, where it could not be read.
      case $rp_sum in e3b0c44298fc1c14*) [ -r "$1" ] || as_root test -r "$1" || rp_sum= ;; esac
      ;;
    '') if [ ! -e "$1" ] && [ ! -L "$1" ]; then rp_sum=-; fi ;;
  esac
}
