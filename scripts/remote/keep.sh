# Keeps a dump of a database as it is now, for us alone, where a boot does not take it away.
# Takes: holder number run database
# Sections: said, kept (its path). Exit: 0 done; 1 there is none; 93 as in switch.sh
if fenced "$service" "$holder" "$number"; then return 93; fi
section said
find_psql >/dev/null || return 1
rp_place=/var/tmp/rollback-prod-$rp_uid
if ! is_ours "$rp_place" && ! make_place "$rp_place"; then
  printf 'there is no room for it in /var/tmp'
  return 1
fi
file=$rp_place/$service.$run.dump
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
