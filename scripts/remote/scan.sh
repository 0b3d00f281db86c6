# Reads dumps to their end and says what they hold. Leaves nothing.
# Takes: bytes=0 file...
# bytes are those of the program that is carried, packed, on 3. Always ends with 0.
has pg_restore || for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do PATH=$PATH:$folder; done
carry "$bytes"
read_one() {
  file=$1
  lacks=
  read_kind "$file" || lacks=$rp_packer
  rp_placed=
  if [ "$rp_kind" != plain ] && [ -z "$rp_packer" ] && [ -n "$container" ] && ! has pg_restore; then place "$file"; fi
  section format
  printf '%s' "$rp_kind"
  section scan
  if [ ! -r "$file" ] && ! as_root test -r "$file" 2>/dev/null; then
    printf 'error it is not there, or not readable\n'
  elif [ -n "$lacks" ]; then
    printf 'packed %s\nerror it is packed with %s, which is not on the host: install it there, or %s -dc FILE | gzip >FILE.gz elsewhere\n' \
      "$lacks" "$lacks" "$lacks"
  elif [ -n "$rp_agent" ]; then
    run_lines "$rp_agent
scan
$(reader_words "$file" | sed 's/^/--read=/')"
  else
    packed=no
    if is_text_packed; then packed=gzip; fi
    dump_text "$file" 2>/dev/null | scan_text -v packed="$packed" -v report=/dev/stdout
  fi
  [ -z "$rp_placed" ] || take_away
}
with_file each read_one
put_down
