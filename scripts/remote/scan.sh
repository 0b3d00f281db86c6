# Reads dumps to their end and says what they hold. Leaves nothing.
# Arguments: sudo= service= admin= container= bytes= (of this program, packed, on 3) file=, repeated. Always ends with 0.
bytes=0
for arg in "$@"; do
  database_argument "$arg"
  case $arg in bytes=*) bytes=${arg#*=} ;; esac
done
has pg_restore || for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do PATH=$PATH:$folder; done
carry "$bytes"
for arg in "$@"; do
  case $arg in file=*) file=${arg#*=} ;; *) continue ;; esac
  kind=$(kind_of "$file")
  rp_placed=
  if [ "$kind" != plain ] && [ -n "$rp_container" ] && ! has pg_restore; then place "$file"; fi
  section format
  printf '%s' "$kind"
  section scan
  if [ ! -r "$file" ] && ! as_root test -r "$file" 2>/dev/null; then
    printf 'error it is not there, or not readable\n'
  elif [ -n "$rp_agent" ]; then
    run_lines "$rp_agent
on-host
scan
$(reader_words "$file" "$kind" | sed 's/^/--read=/')"
  else
    packed=no
    if is_packed "$file"; then packed=gzip; fi
    dump_text "$file" "$kind" 2>/dev/null | scan_text -v packed="$packed" -v report=/dev/stdout
  fi
  [ -z "$rp_placed" ] || take_away
done
put_down
