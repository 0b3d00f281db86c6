# The tables that shall get rows of a copy, as they are in the live database and in that copy; or, of rows that were put back
# earlier, what was written to them since. Only asks.
# Takes: live copy table... kept plan
# A table is a name, with its schema or without; kept is the schema that a merge left, and plan what merge.sh takes.
# Always ends with 0; what is not there is not said, and a section without its last line `end` says why it has none.
find_psql >/dev/null || return 0
names=
add_name() { names="$names${names:+$rp_unit}$1"; }
with_table each add_name

# shapes DATABASE: kind, columns and key of each of them, as JSON. A key is what tells rows apart: the primary one, else a
# unique one without nulls.
shapes() {
  sql "$1" -v names="$names" 2>&1 <<'SQL'
SET statement_timeout = '60s';
SET search_path = pg_catalog;
SELECT jsonb_build_object('named', a.name, 'schema', n.nspname, 'table', c.relname, 'kind', c.relkind,
  'partition_of', (SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = c.oid AND c.relispartition),
  'children', (SELECT count(*) FROM pg_inherits h WHERE h.inhparent = c.oid),
  'triggers', (SELECT coalesce(jsonb_agg(t.tgname ORDER BY t.tgname), '[]') FROM pg_trigger t
    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'),
  'columns', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', k.attname, 'type', format_type(k.atttypid, k.atttypmod),
      'is_generated', k.attgenerated <> '', 'is_always', k.attidentity = 'a') ORDER BY k.attnum), '[]')
    FROM pg_attribute k WHERE k.attrelid = c.oid AND k.attnum > 0 AND NOT k.attisdropped),
  'key', coalesce((SELECT jsonb_agg(k.attname ORDER BY p.place)
    FROM (SELECT i.indkey, i.indnkeyatts FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
        AND i.indpred IS NULL AND i.indexprs IS NULL
        AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY p (attnum, place)
          JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = p.attnum WHERE p.place <= i.indnkeyatts AND NOT k.attnotnull)
        ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1) i,
      unnest(i.indkey::int2[]) WITH ORDINALITY p (attnum, place)
      JOIN pg_attribute k ON k.attrelid = c.oid AND k.attnum = p.attnum WHERE p.place <= i.indnkeyatts), '[]'))
  FROM unnest(string_to_array(:'names', chr(31))) WITH ORDINALITY a (name, place)
  JOIN pg_namespace n ON n.nspname !~ '^(pg_|rollback_prod_)' AND n.nspname <> 'information_schema'
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind NOT IN ('i', 'I', 't', 'c')
    AND a.name IN (c.relname, n.nspname || '.' || c.relname)
  ORDER BY a.place, n.nspname;
\echo end
SQL
}

if [ -n "$names" ]; then
  section shapes.live
  shapes "$live"
  section shapes.copy
  shapes "$copy"
  section references
  sql "$live" 2>&1 <<'SQL'
SELECT jsonb_build_object('from', fn.nspname || '.' || f.relname, 'to', tn.nspname || '.' || t.relname)
  FROM pg_constraint c JOIN pg_class f ON f.oid = c.conrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
  JOIN pg_class t ON t.oid = c.confrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
  WHERE c.contype = 'f' AND c.conparentid = 0;
\echo end
SQL
fi
if [ -n "$kept" ]; then
  section since
  sql "$live" -v kept="$kept" -v plan="$plan" 2>&1 <<'SQL'
SET statement_timeout = '60s';
SELECT format('SELECT jsonb_build_object(''table'', %L, ''put_back'', count(*), ''since'',
      count(*) FILTER (WHERE k.rollback_prod_was <> ''deleted'' AND k.rollback_prod_now IS DISTINCT FROM md5(ROW(%s)::text))
      + count(l.ctid) FILTER (WHERE k.rollback_prod_was = ''deleted''))
    FROM %I.%I k LEFT JOIN %s%I.%I l ON %s',
    v ->> 'schema' || '.' || (v ->> 'table'), l.columns, :'kept', v ->> 'kept', CASE v ->> 'is_parted' WHEN 'true' THEN '' ELSE 'ONLY ' END,
    v ->> 'schema', v ->> 'table', k.same)
  FROM jsonb_array_elements(:'plan'::jsonb) WITH ORDINALITY t (v, place)
  CROSS JOIN LATERAL (SELECT string_agg(format('l.%I', c), ', ' ORDER BY p) AS columns FROM jsonb_array_elements_text(v -> 'columns') WITH ORDINALITY x (c, p)) l
  CROSS JOIN LATERAL (SELECT string_agg(format('l.%I = k.%I', c, c), ' AND ') AS same FROM jsonb_array_elements_text(v -> 'key') x (c)) k
  WHERE k.same IS NOT NULL ORDER BY place
\gexec
\echo end
SQL
fi
