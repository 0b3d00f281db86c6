# Counts in nginx's access logs for as long as it is listened to, and tells the counts (src/logs/counts.rs) as they come. Leaves
# nothing: the program that counts removes its own file as it begins, and ends when nobody listens any more.
# Takes: bytes=0 every=1000 lasts since=0 limit... log...
# bytes are those of the program that is carried, packed, on 3. A log is NUMBER US FORM US ESCAPE US FROM US PATH, where PATH may be
# `container:` for what nginx's container prints, or a path behind that for a file in it. limits are milliseconds.
# Exit: 0 the time is over; 3 no program of ours runs here; 4 none of the logs can be read (notes say why).
[ -z "$nginx_container" ] || find_container
words='' piped=''

# add_log LOG: its words, where it can be read; the first one that only somebody else can read comes by a pipe.
add_log() {
  rp_number=${1%%"$rp_unit"*} rp_rest=${1#*"$rp_unit"}
  rp_form=${rp_rest%%"$rp_unit"*} rp_rest=${rp_rest#*"$rp_unit"}
  rp_escape=${rp_rest%%"$rp_unit"*} rp_rest=${rp_rest#*"$rp_unit"}
  rp_from=${rp_rest%%"$rp_unit"*} rp_path=${rp_rest#*"$rp_unit"}
  rp_form="--number=$rp_number
--form=$rp_form
--escape=$rp_escape"
  case $rp_path in
    container:*) rp_is_file=no ;;
    *) if [ -r "$rp_path" ]; then rp_is_file=yes; else rp_is_file=no; fi ;;
  esac
  if [ "$rp_is_file" = yes ]; then
    words="$words
$rp_form
--from=$rp_from
--file=$rp_path"
  elif [ -n "$piped" ]; then
    printf 'note %s only one log can be read through somebody else\n' "$rp_number"
  else
    case $rp_path in
      container:*) ;;
      *)
        if ! as_root test -f "$rp_path" 2>/dev/null; then
          printf 'note %s it is not there, or not for us\n' "$rp_number"
          return 0
        fi
        ;;
    esac
    piped=$rp_path
    words="$words
$rp_form
--input"
  fi
}
# follow PATH: what comes to it from now on, or came since that moment, of which no more than could be wanted. Who prints it does
# not notice that nobody listens before there is something to say: it has an end of its own, where there is `timeout`.
# shellcheck disable=SC2016 # run there
follow() {
  rp_back=0
  [ "$since" = 0 ] || rp_back=200000
  case $1 in
    container:) "$rp_keeper" timeout "$lasts" "$rp_engine" logs --follow --tail "$rp_back" "$nginx_container" ;;
    container:*)
      in_container sh -c 'if command -v timeout >/dev/null; then exec timeout "$1" tail -n "$2" -F "$3"; fi
        exec tail -n "$2" -F "$3"' rollback-prod "$lasts" "$rp_back" "${1#container:}"
      ;;
    *)
      if as_root timeout 5 true; then
        as_root timeout "$lasts" tail -n "$rp_back" -F "$1"
      else
        as_root tail -n "$rp_back" -F "$1"
      fi
      ;;
  esac 2>/dev/null
}
add_limit() {
  words="$words
--limit=$1"
}

with_limit each add_limit
before=$words
with_log each add_log
if [ "$words" = "$before" ]; then
  printf 'look read=0\n'
  return 4
fi
carry "$bytes"
[ -n "$rp_agent" ] || return 3
words="$rp_agent
count
--every=$every
--lasts=$lasts
--since=$since
--unlink$words"
if [ -n "$piped" ]; then
  follow "$piped" | run_lines "$words"
else
  run_lines "$words"
fi
put_down 2>/dev/null
return 0
