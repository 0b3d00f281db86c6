# Puts the rows of some tables of a copy into the live database beside the live ones, in a schema of its own, and says what a
# merge would change there. No live table is written to or locked.
# Takes: holder number live copy stage plan comment delete_missing=no
# plan is what merge.sh takes; comment is the schema's.
# Exit: 0 the rows are there; 70 they are not; 93 as in switch.sh
if fenced "$group" "$holder" "$number"; then return 93; fi
find_psql >/dev/null || return 70

# statements: two lines for each table: what gives its rows in the copy, and what takes them beside the live ones.
statements() {
  sql "$live" -v plan="$plan" -v stage="$stage" <<'SQL'
SELECT format(E'COPY (SELECT %s FROM %s%I.%I) TO STDOUT\nCOPY %I.%I (%s) FROM STDIN', columns,
    CASE v ->> 'is_parted' WHEN 'true' THEN '' ELSE 'ONLY ' END, v ->> 'schema', v ->> 'table', :'stage', place::text, columns)
  FROM jsonb_array_elements(:'plan'::jsonb) WITH ORDINALITY t (v, place)
  CROSS JOIN LATERAL (SELECT string_agg(format('%I', c), ', ' ORDER BY p) AS columns FROM jsonb_array_elements_text(v -> 'picked') WITH ORDINALITY x (c, p)) l
  ORDER BY place;
SQL
}

# rows: all of it as one transaction's text. What could not be read to its end ends in an error, so that nothing stays.
rows() {
  cat <<'SQL'
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL row_security = off;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
CREATE SCHEMA :"stage";
COMMENT ON SCHEMA :"stage" IS :'comment';
SELECT format('CREATE UNLOGGED TABLE %I.%I AS SELECT %s FROM %I.%I WITH NO DATA', :'stage', place::text, columns, v ->> 'schema', v ->> 'table')
  FROM jsonb_array_elements(:'plan'::jsonb) WITH ORDINALITY t (v, place)
  CROSS JOIN LATERAL (SELECT string_agg(format('%I', c), ', ' ORDER BY p) AS columns FROM jsonb_array_elements_text(v -> 'picked') WITH ORDINALITY x (c, p)) l
  ORDER BY place
\gexec
SQL
  printf '%s\n' "$statements" | while IFS= read -r from && IFS= read -r into; do
    printf '%s;\n' "$into"
    printf 'SET statement_timeout = 0;\nSET row_security = off;\n%s;\n' "$from" | sql "$copy" || {
      printf '\\.\nDO $$ BEGIN RAISE EXCEPTION %s; END $$;\n' "'the copy could not be read to its end'"
      break
    }
    printf '\\.\n'
  done
  cat <<'SQL'
SELECT format('ANALYZE %I.%I', :'stage', place::text) FROM jsonb_array_elements(:'plan'::jsonb) WITH ORDINALITY t (v, place)
\gexec
COMMIT;
SQL
}

# preview: what differs between those rows and the live ones, table by table, and which foreign keys would lead nowhere.
preview() {
  sql "$live" -v n="$rp_nonce" -v plan="$plan" -v stage="$stage" -v delete_missing="$delete_missing" <<'SQL'
SET statement_timeout = '600s';
SET lock_timeout = '5s';
SET row_security = off;
SELECT CASE WHEN k.same IS NULL
  THEN format('SELECT jsonb_build_object(''table'', %L, ''live'', l.n, ''copy'', s.n, ''only_live'', l.n, ''only_copy'', s.n, ''changed'', 0)
    FROM (SELECT count(*) AS n FROM %s) l, (SELECT count(*) AS n FROM %s) s', name, live, staged)
  ELSE format('SELECT jsonb_build_object(''table'', %L, ''live'', count(l.ctid), ''copy'', count(s.ctid),
      ''only_live'', count(l.ctid) FILTER (WHERE s.ctid IS NULL), ''only_copy'', count(s.ctid) FILTER (WHERE l.ctid IS NULL),
      ''changed'', count(*) FILTER (WHERE s.ctid IS NOT NULL AND l.ctid IS NOT NULL AND ROW(%s)::text IS DISTINCT FROM ROW(%s)::text))
    FROM %s l FULL JOIN %s s ON %s', name, p.s, p.l, live, staged, k.same) END
  FROM (SELECT v, place, v ->> 'schema' || '.' || (v ->> 'table') AS name, format('%I.%I', :'stage', place::text) AS staged,
      CASE v ->> 'is_parted' WHEN 'true' THEN '' ELSE 'ONLY ' END || format('%I.%I', v ->> 'schema', v ->> 'table') AS live
    FROM jsonb_array_elements(:'plan'::jsonb) WITH ORDINALITY t (v, place)) t
  CROSS JOIN LATERAL (SELECT string_agg(format('s.%I', c), ', ' ORDER BY p) AS s, string_agg(format('l.%I', c), ', ' ORDER BY p) AS l
    FROM jsonb_array_elements_text(v -> 'picked') WITH ORDINALITY x (c, p)) p
  CROSS JOIN LATERAL (SELECT string_agg(format('l.%I = s.%I', c, c), ' AND ') AS same FROM jsonb_array_elements_text(v -> 'key') x (c)) k
  ORDER BY place
\gexec
\echo :n dangling
WITH picked AS (SELECT place, v, format('%I.%I', v ->> 'schema', v ->> 'table')::regclass::oid AS oid, format('%I.%I', :'stage', place::text) AS staged
    FROM jsonb_array_elements(:'plan'::jsonb) WITH ORDINALITY t (v, place)),
  keys AS (SELECT c.conname, c.conrelid, c.confrelid, c.conrelid::regclass AS is_from, c.confrelid::regclass AS is_to,
      array_agg(f.attname ORDER BY p.place) AS f, array_agg(t.attname ORDER BY p.place) AS t,
      string_agg(format('x.%I IS NOT NULL', f.attname), ' AND ') AS given
    FROM pg_constraint c CROSS JOIN LATERAL unnest(c.conkey, c.confkey) WITH ORDINALITY p (f, t, place)
    JOIN pg_attribute f ON f.attrelid = c.conrelid AND f.attnum = p.f JOIN pg_attribute t ON t.attrelid = c.confrelid AND t.attnum = p.t
    WHERE c.contype = 'f' AND c.convalidated AND c.conparentid = 0 GROUP BY c.oid, c.conname, c.conrelid, c.confrelid),
  pairs AS (SELECT k.*, (SELECT string_agg(format('y.%I = x.%I', t, f), ' AND ') FROM unnest(k.f, k.t) m (f, t)) AS leads FROM keys k)
SELECT format('SELECT jsonb_build_object(''key'', %L, ''from'', %L, ''to'', %L, ''rows'', count(*)) FROM %s x WHERE %s
    AND NOT EXISTS (SELECT FROM %s y WHERE %s) HAVING count(*) > 0', conname, is_from, is_to, p.staged, given, is_to, leads)
  FROM pairs JOIN picked p ON p.oid = conrelid
  WHERE confrelid NOT IN (SELECT oid FROM picked) AND p.v -> 'picked' ?& pairs.f::text[]
UNION ALL
SELECT format('SELECT jsonb_build_object(''key'', %L, ''from'', %L, ''to'', %L, ''rows'', count(*)) FROM %s x WHERE %s
    AND NOT EXISTS (SELECT FROM %s y WHERE %s) HAVING count(*) > 0', conname, is_from, is_to, is_from, given, p.staged, leads)
  FROM pairs JOIN picked p ON p.oid = confrelid
  WHERE :'delete_missing' = 'yes' AND conrelid NOT IN (SELECT oid FROM picked) AND p.v -> 'picked' ?& pairs.t::text[]
\gexec
SQL
}

section stage
# What is said beside an answer is no statement.
statements=$(statements 2>/dev/null) || {
  statements 2>&1
  return 70
}
rows | sql "$live" -v plan="$plan" -v stage="$stage" -v comment="$comment" 2>&1 || return 70
section preview
preview 2>&1 || return 70
