# Ends a load and removes its record, and drops one database: a copy, a drill's, or a kept one; or one schema of the live
# database that rows were put into. Safe to run twice.
# Takes: run holder number database stem oid schema
# run, oid and schema may be nothing; holder and number too, of what is done under no lock.
# Exit: 0 it is gone; 63 it is not what it was to be; 64 it cannot be dropped; 93 as in switch.sh
if fenced "$group" "$holder" "$number"; then return 93; fi
# children_of_threads PID: the kernel's list, which lib.sh reads, has those of one thread, and a load has several.
children_of_threads() {
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v parent="$1" '{
    pid = $1; sub(/^.*\) /, ""); split($0, f, " ")
    if (f[2] == parent) print pid }'
}
# kill_tree PID: it and everything it began; the elder first, so that none begins another.
kill_tree() {
  rp_children=$(children_of_threads "$1")
  kill -KILL "$1" 2>/dev/null
  for rp_child in $rp_children; do kill_tree "$rp_child"; done
}
if [ -n "$run" ] && find_load "$run"; then
  if [ -r "$folder/pid" ] && [ ! -e "$folder/status" ]; then
    read -r pid started <"$folder/pid"
    read_start "$pid"
    if [ "$rp_start" = "$started" ]; then kill_tree "$pid"; fi
  fi
  rm -rf "$folder"
  rmdir "${folder%/*}" 2>/dev/null
fi
section drop
[ -n "$database" ] || return 0
if [ -n "$schema" ]; then
  case $schema in rollback_prod_*) ;; *) return 63 ;; esac
  find_psql >/dev/null || return 64
  sql "$database" -v schema="$schema" 2>&1 <<'SQL' || return 64
SET client_min_messages = warning;
SET lock_timeout = '10s';
DROP SCHEMA IF EXISTS :"schema" CASCADE;
SQL
  return 0
fi
case $database in
  "${stem}"_copy_* | "${stem}"_drill_* | "${stem}"_before_* | "${stem}"_undone_*) ;;
  *)
    printf '%s is none of ours' "$database"
    return 63
    ;;
esac
find_psql >/dev/null || return 64
found=$(printf '%s' "SELECT oid FROM pg_database WHERE datname = :'database';" | sql postgres -v database="$database")
[ -n "$found" ] || return 0
if [ -n "$oid" ] && [ "$oid" != "$found" ]; then
  printf '%s is another one now' "$database"
  return 63
fi
for _ in 1 2 3 4 5; do
  said=$(sql postgres -v database="$database" 2>&1 <<'SQL'
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :'database' AND pid <> pg_backend_pid() \g /dev/null
SELECT pg_sleep(0.1) \g /dev/null
DROP DATABASE IF EXISTS :"database";
SQL
  ) && return 0
done
printf '%s' "$said"
return 64
