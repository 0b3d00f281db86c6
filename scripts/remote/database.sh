# What is true of the server and the database, in one round trip. Only asks; starts nothing.
# Takes: database stem
# Names of copies begin with stem. Always ends with 0.
section system
uname -sm
section clock
date +%s
if [ -n "$container" ]; then
  ask container docker inspect --type container -f '{{.State.Running}}' "$container"
fi
if ! find_psql; then
  section programs
  id -un
  for program in psql vacuumdb pg_restore; do command -v "$program" || :; done
  return 0
fi
section client
pg psql --version 2>/dev/null
pg pg_restore --version 2>/dev/null
first=postgres
section facts
sql "$first" -v n="$rp_nonce" -v database="$database" -v stem="$stem" 2>&1 <<'SQL'
\echo :n server
SELECT jsonb_build_object('version_num', current_setting('server_version_num')::int, 'version', current_setting('server_version'),
  'is_standby', pg_is_in_recovery(), 'is_superuser', r.rolsuper, 'can_create', r.rolsuper OR r.rolcreatedb,
  'can_signal', r.rolsuper OR pg_has_role(r.oid, 'pg_signal_backend', 'member'))
  FROM pg_roles r WHERE rolname = current_user;
\echo :n live
SELECT jsonb_build_object('oid', d.oid::bigint, 'owner', pg_get_userbyid(d.datdba), 'size', pg_database_size(d.oid),
  'allows_connections', d.datallowconn, 'connection_limit', d.datconnlimit)
  FROM pg_database d WHERE datname = :'database';
\echo :n hindrances
SELECT to_jsonb('prepared transaction ' || gid) FROM pg_prepared_xacts WHERE database = :'database'
UNION ALL SELECT to_jsonb('replication slot ' || slot_name) FROM pg_replication_slots WHERE database = :'database'
UNION ALL SELECT to_jsonb('subscription ' || subname) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
  WHERE d.datname = :'database';
\echo :n sessions
SELECT jsonb_build_object('user', usename, 'application', application_name, 'client', coalesce(host(client_addr), 'local'),
  'count', count(*)) FROM pg_stat_activity WHERE datname = :'database' AND pid <> pg_backend_pid()
  GROUP BY usename, application_name, client_addr ORDER BY count(*) DESC;
\echo :n roles
SELECT to_jsonb(rolname) FROM pg_roles ORDER BY rolname;
\echo :n relatives
SELECT jsonb_build_object('name', datname, 'oid', d.oid::bigint, 'size', pg_database_size(d.oid),
  'comment', shobj_description(d.oid, 'pg_database')) FROM pg_database d
  WHERE starts_with(datname, :'stem' || '_before_') OR starts_with(datname, :'stem' || '_copy_')
  OR starts_with(datname, :'stem' || '_undone_') OR starts_with(datname, :'stem' || '_drill_') ORDER BY datname;
\echo :n folder
SELECT coalesce(nullif(pg_tablespace_location(d.dattablespace), ''), current_setting('data_directory', true))
  FROM pg_database d WHERE datname IN (:'database', 'postgres', 'template1') ORDER BY datname <> :'database' LIMIT 1;
SQL
folder=$(printf '%s' "SELECT coalesce(nullif(pg_tablespace_location(d.dattablespace), ''), current_setting('data_directory', true))
  FROM pg_database d WHERE datname IN (:'database', 'postgres', 'template1') ORDER BY datname <> :'database' LIMIT 1;" |
  sql "$first" -v database="$database" 2>/dev/null)
section space
if [ -n "$folder" ]; then pg df -Pk "$folder" 2>/dev/null || df -Pk "$folder" 2>/dev/null; fi
section tables
sql "$database" -v n="$rp_nonce" 2>/dev/null <<'SQL'
SELECT to_jsonb(n.nspname || '.' || c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^rollback_prod_';
\echo :n schemas
SELECT jsonb_build_object('name', n.nspname, 'oid', n.oid::bigint, 'comment', obj_description(n.oid, 'pg_namespace'),
  'size', (SELECT coalesce(sum(pg_table_size(c.oid)), 0)::bigint FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'r'))
  FROM pg_namespace n WHERE n.nspname ~ '^rollback_prod_' ORDER BY n.nspname;
SQL
section end
