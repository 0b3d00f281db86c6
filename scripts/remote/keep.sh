# Keeps a dump of a database as it is now, for us alone, where a boot does not take it away.
# Takes: holder number run database forget=no
# forget=yes removes it again.
# Sections: said, kept (its path). Exit: 0 done; 1 there is none; 93 as in switch.sh
if fenced "$group" "$holder" "$number"; then return 93; fi
section said
if ! read_lasting; then
  printf 'there is no room for it in /var/tmp'
  return 1
fi
file=$rp_lasting/$service.$run.dump
if [ "$forget" = yes ]; then
  rm -f "$file"
  return 0
fi
find_psql >/dev/null || return 1
# A server whose disk is full serves nobody; a dump is smaller than what it is of.
rp_bytes=$(printf '%s' "SELECT pg_database_size(:'database');" | sql postgres -v database="$database" 2>/dev/null)
rp_free=$(df -Pk "$rp_lasting" 2>/dev/null | awk 'NR == 2 { print $4 }')
if is_number "$rp_bytes" && is_number "$rp_free" && [ "$((rp_bytes / 1024))" -gt "$rp_free" ]; then
  printf 'it has %s KiB, and %s has %s KiB left' "$((rp_bytes / 1024))" "$rp_lasting" "$rp_free"
  return 1
fi
set -- -w -U "$admin" -Fc -d "$(conninfo "$database")"
if [ "$way" = tcp ]; then set -- -h localhost "$@"; fi
if [ -n "$rp_port" ]; then set -- -p "$rp_port" "$@"; fi
case $rp_psql in */*) rp_dump=${rp_psql%/*}/pg_dump ;; *) rp_dump=pg_dump ;; esac
keep() { pg "$rp_dump" "$@" >"$file"; }
rp_said=$(keep "$@" 2>&1) || {
  printf '%s' "$rp_said"
  rm -f "$file"
  return 1
}
[ -s "$file" ] || return 1
section kept
printf '%s' "$file"
