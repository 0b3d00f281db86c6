# Whether a copy is what it should be, and what of the live database it lacks. Only asks.
# Takes: copy live against check... keys=2000000 count=yes
# live is the database whose rows are compared, against the one whose structure is; each may be nothing. A check is SQL that
# must say true; keys are rows at most that are compared key by key;
# with count=no checks and migrations are all.
# Always ends with 0; what could not be counted is missing.
find_psql >/dev/null || return 0
# checked SQL: on the copy, for a minute at most.
checked() {
  printf "SET statement_timeout = '60s';\n%s\n;\n" "$1" | sql "$copy"
}
number=0
check() {
  ask "check.$number" checked "$1"
  number=$((number + 1))
}
with_check each check
tell_migrations() {
  [ -n "$against" ] || return 0
  ask migrations migrations "$against"
}
if [ "$count" != yes ]; then
  tell_migrations
  return 0
fi
# counts DATABASE: rows and newest time of each table, as JSON. What takes longer than a minute is left out.
counts() {
  sql "$1" -v ON_ERROR_STOP=0 2>/dev/null <<'SQL'
SET statement_timeout = '60s';
SET timezone = 'UTC';
SELECT format('SELECT jsonb_build_object(''table'', %L, ''rows'', count(*)%s) FROM ONLY %I.%I', n.nspname || '.' || c.relname,
  CASE WHEN t.attname IS NULL THEN '' ELSE format(', ''newest'', max(%I)::text', t.attname) END, n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (SELECT a.attname FROM pg_attribute a
    WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attnum > 0
      AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype)
    ORDER BY array_position(ARRAY['updated_at', 'modified_at', 'created_at', 'inserted_at', 'occurred_at', 'at', 'time', 'ts'],
      a.attname::text), a.attnum LIMIT 1) t ON true
  WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^rollback_prod_'
  ORDER BY 1
\gexec
SQL
}

# key_lists: a statement for each table of the live database that has a primary key, the small ones first, as long as
# all of them together are not too many: its number and a digest of each key.
key_lists() {
  sql "$live" -v keys="$keys" <<'SQL'
SELECT format('COPY (SELECT %s, md5(ROW(%s)::text) FROM ONLY %I.%I) TO STDOUT;', number, columns, nspname, relname)
  FROM (SELECT row_number() OVER (ORDER BY greatest(c.reltuples, 0), c.oid) AS number, n.nspname, c.relname,
    sum(greatest(c.reltuples, 0)) OVER (ORDER BY greatest(c.reltuples, 0), c.oid) AS rows,
    (SELECT string_agg(format('%I', a.attname), ', ' ORDER BY k.place) FROM unnest(i.indkey::int[]) WITH ORDINALITY k (attnum, place)
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum) AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^rollback_prod_') t
  WHERE rows <= :keys ORDER BY number;
SELECT '-- ' || number || ' ' || to_jsonb(nspname || '.' || relname)
  FROM (SELECT row_number() OVER (ORDER BY greatest(c.reltuples, 0), c.oid) AS number, n.nspname, c.relname,
    sum(greatest(c.reltuples, 0)) OVER (ORDER BY greatest(c.reltuples, 0), c.oid) AS rows
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^rollback_prod_') t
  WHERE rows <= :keys ORDER BY number;
SQL
}

# sorted_keys DATABASE FILE: what those statements give there, sorted.
sorted_keys() {
  { printf "SET statement_timeout = '60s';\n" && grep '^COPY' "$2"; } | sql "$1" -v ON_ERROR_STOP=0 2>/dev/null | sort
}

folder=$(mktemp -d "${TMPDIR:-/tmp}/rollback-prod-XXXXXX") || return 0
if [ -n "$against" ]; then
  structure "$against" >"$folder/against.structure" &
  structure "$copy" >"$folder/copy.structure" &
fi
section rows.copy
counts "$copy"
# An index of a partitioned table that is not attached everywhere is not valid where it comes from, either. A table that
# CREATE EXTENSION itself fills has more rows than the dump, which has only those that were added.
section validity
sql "$copy" -v n="$rp_nonce" <<'SQL'
SELECT to_jsonb('index ' || indexrelid::regclass::text) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  WHERE NOT indisvalid AND c.relkind <> 'I';
\echo :n extension_tables
SELECT to_jsonb(n.nspname || '.' || c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_depend e ON e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e' WHERE c.relkind IN ('r', 'p');
SQL
if [ -n "$live" ]; then
  section rows.live
  counts "$live"
  key_lists >"$folder/lists" 2>/dev/null
  section keys.tables
  sed -n 's/^-- //p' "$folder/lists"
  section keys
  sorted_keys "$live" "$folder/lists" >"$folder/live"
  sorted_keys "$copy" "$folder/lists" >"$folder/copy"
  # Lines that only the second has begin with a tab.
  comm -3 "$folder/live" "$folder/copy" | awk -F '\t' '
    $1 != "" { live[$1]++; seen[$1] = 1; next }
    { copy[$2]++; seen[$2] = 1 }
    END { for (table in seen) print table, live[table] + 0, copy[table] + 0 }'
fi
tell_migrations
wait
if [ -s "$folder/against.structure" ] && [ -s "$folder/copy.structure" ]; then
  section structure
  differences "$folder/against.structure" "$folder/copy.structure"
fi
rm -rf "$folder"
