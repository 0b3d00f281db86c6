# Puts one database in the place of another: two renames that happen together or not at all, while a second session
# ends the connections to the first. Gives up after so many seconds and leaves everything as it was.
# Takes: run holder number live live_oid copy copy_oid kept comment seconds=5
# live_oid may be nothing; comment is the kept one's.
# Exit: 0 swapped; 70 not swapped, all is as it was; 71 these are not the databases of the plan any more;
#   93 as in switch.sh
if fenced "$group" "$holder" "$number"; then return 93; fi

# What belongs to a database and not to what is in it: owner, rights, settings, connection limit, comment.
carry_over() {
  sql postgres -v live="$live" -v copy="$copy" <<'SQL'
SELECT format('ALTER DATABASE %I OWNER TO %I', :'copy', pg_get_userbyid(datdba)) FROM pg_database WHERE datname = :'live'
UNION ALL SELECT format('ALTER DATABASE %I CONNECTION LIMIT %s', :'copy', datconnlimit) FROM pg_database WHERE datname = :'live'
UNION ALL SELECT format('COMMENT ON DATABASE %I IS %s', :'copy', quote_nullable(shobj_description(oid, 'pg_database')))
  FROM pg_database WHERE datname = :'live'
\gexec
SELECT format('ALTER DATABASE %I RESET ALL', :'copy')
\gexec
SELECT CASE WHEN s.setrole = 0 THEN format('ALTER DATABASE %I', :'copy')
    ELSE format('ALTER ROLE %I IN DATABASE %I', pg_get_userbyid(s.setrole), :'copy') END
  || format(' SET %I TO ', split_part(c.setting, '=', 1))
  -- These hold a list whose words are quoted already.
  || CASE WHEN split_part(c.setting, '=', 1) IN ('search_path', 'temp_tablespaces', 'session_preload_libraries',
    'local_preload_libraries', 'shared_preload_libraries', 'unix_socket_directories')
    THEN substr(c.setting, strpos(c.setting, '=') + 1)
    ELSE quote_literal(substr(c.setting, strpos(c.setting, '=') + 1)) END
  FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS c (setting)
  WHERE d.datname = :'live'
\gexec
SELECT statement FROM (
  SELECT 1 AS place, format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'copy') AS statement FROM pg_database
    WHERE datname = :'live' AND datacl IS NOT NULL
  UNION ALL SELECT 2, format('REVOKE ALL ON DATABASE %I FROM %I', :'copy', pg_get_userbyid(datdba)) FROM pg_database
    WHERE datname = :'live' AND datacl IS NOT NULL
  UNION ALL SELECT 3, format('GRANT %s ON DATABASE %I TO %s%s', a.privilege_type, :'copy',
    CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = :'live' AND d.datacl IS NOT NULL) s
  ORDER BY place
\gexec
SQL
}

# Ends the sessions of the live database as soon as the renaming session is seen, until that is done or gone. It must
# never run on: the sessions of the database that is live afterwards are the users'.
end_sessions() {
  sql postgres -v live_oid="$live_oid" -v copy_oid="$copy_oid" -v live="$live" -v mark="$1" -v rounds="$(((seconds + 5) * 50))" <<'SQL'
SELECT set_config('rollback_prod.live_oid', :'live_oid', false), set_config('rollback_prod.copy_oid', :'copy_oid', false),
  set_config('rollback_prod.live', :'live', false), set_config('rollback_prod.mark', :'mark', false),
  set_config('rollback_prod.rounds', :'rounds', false) \g /dev/null
DO $$
DECLARE seen bool := false; here bool;
BEGIN
  FOR i IN 1 .. current_setting('rollback_prod.rounds')::int LOOP
    PERFORM pg_stat_clear_snapshot();
    SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = current_setting('rollback_prod.mark')) INTO here;
    EXIT WHEN seen AND NOT here;
    EXIT WHEN EXISTS (SELECT FROM pg_database WHERE oid = current_setting('rollback_prod.copy_oid')::oid
      AND datname = current_setting('rollback_prod.live'));
    seen := seen OR here;
    IF seen THEN
      PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datid = current_setting('rollback_prod.live_oid')::oid AND pid <> pg_backend_pid();
    END IF;
    PERFORM pg_sleep(0.02);
  END LOOP;
END $$;
SQL
}

rename() {
  sql postgres -v live="$live" -v live_oid="$live_oid" -v copy="$copy" -v copy_oid="$copy_oid" -v kept="$kept" \
    -v swapped="swapped-$rp_nonce" -v changed="changed-$rp_nonce" -v comment="$comment" -v mark="$1" -v limit="${seconds}s" -v longest="$((seconds + 10))s" <<'SQL'
\if :{?live_oid}
\else
\set live_oid 0
\endif
SET application_name = :'mark';
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datid = :'copy_oid'::oid AND pid <> pg_backend_pid() \g /dev/null
BEGIN;
SET LOCAL lock_timeout = :'limit';
SET LOCAL statement_timeout = :'longest';
SELECT coalesce(nullif(:'live_oid', ''), '0') <> '0' AS has_live \gset
\if :has_live
-- It takes the lock on the database, and then waits up to 5 s for its sessions to be gone.
ALTER DATABASE :"live" RENAME TO :"kept";
SELECT (SELECT oid FROM pg_database WHERE datname = :'kept') = :'live_oid'::oid AS is_same \gset
\else
SELECT NOT EXISTS (SELECT FROM pg_database WHERE datname = :'live') AS is_same \gset
\endif
SELECT :'is_same' = 't' AND EXISTS (SELECT FROM pg_database WHERE datname = :'copy' AND oid = :'copy_oid'::oid) AS is_same \gset
\if :is_same
ALTER DATABASE :"copy" RENAME TO :"live";
ALTER DATABASE :"live" ALLOW_CONNECTIONS true;
\if :has_live
ALTER DATABASE :"kept" ALLOW_CONNECTIONS false;
COMMENT ON DATABASE :"kept" IS :'comment';
\endif
COMMIT;
\echo :swapped
\else
ROLLBACK;
\echo :changed
\endif
SQL
}

# is_swapped: by the numbers, whatever was answered.
is_swapped() {
  [ "$(printf '%s' "SELECT datname = :'live' FROM pg_database WHERE oid = :'copy_oid'::oid;" |
    sql postgres -v live="$live" -v copy_oid="$copy_oid" 2>/dev/null)" = t ]
}

swap() {
  section swap
  if ! is_swapped; then
    if [ -n "$live_oid" ]; then carry_over 2>&1 || return 70; fi
  fi
  attempt=0
  while [ "$attempt" -lt 2 ]; do
    attempt=$((attempt + 1))
    if is_swapped; then return 0; fi
    mark=rollback-prod.swap.$run
    if [ -n "$live_oid" ]; then end_sessions "$mark" >/dev/null 2>&1 & fi
    began=$(date +%s%N)
    said=$(rename "$mark" 2>&1)
    ended=$(date +%s%N)
    wait
    case $said in
      *"swapped-$rp_nonce"*)
        section took
        printf '%s' "$(((ended - began) / 1000000))"
        return 0
        ;;
      *"changed-$rp_nonce"*) return 71 ;;
    esac
    if is_swapped; then return 0; fi
    printf '%s\n' "$said"
    case $said in *'lock timeout'*) ;; *) return 70 ;; esac
  done
  return 70
}

find_psql >/dev/null || return 70
detached "$service" "$run.swap" swap
