# What a database is made of besides its rows; sent behind psql.sh. Only asks.

# structure DATABASE: a line for each thing: its kind, its name, and what it is or a digest of that, with unit separators
# between. What belongs to an extension is not told of: the extension is. What a server does not know is left out.
structure() {
  sql "$1" -v ON_ERROR_STOP=0 -v u="$rp_unit" 2>/dev/null <<'SQL'
SET statement_timeout = '60s';
SET search_path = pg_catalog;
SET default_transaction_read_only = on;
\set own 'NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.deptype = ''e'' AND e.classid = o.tableoid AND e.objid = o.oid)'
\set here 'n.nspname !~ ''^(pg_|rollback_prod_)'' AND n.nspname <> ''information_schema'''
\set named 'n.nspname || ''.'' || o.relname'
SELECT concat_ws(:'u', 'schema', o.nspname, '') FROM pg_namespace o WHERE o.nspname !~ '^(pg_|rollback_prod_)' AND o.nspname <> 'information_schema' AND :own;
SELECT concat_ws(:'u', CASE o.relkind WHEN 'f' THEN 'foreign table' ELSE 'table' END, :named, md5(concat_ws('|', o.relkind, o.relpersistence,
    o.relrowsecurity, o.relforcerowsecurity, array_to_string(o.reloptions, ','), CASE o.relkind WHEN 'p' THEN pg_get_partkeydef(o.oid) END,
    pg_get_expr(o.relpartbound, o.oid),
    (SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = o.oid))))
  FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace WHERE o.relkind IN ('r', 'p', 'f') AND :here AND :own;
SELECT concat_ws(:'u', 'column', :named || '.' || a.attname, md5(concat_ws('|', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
    a.attgenerated, pg_get_expr(d.adbin, d.adrelid), nullif(a.attcollation, t.typcollation)::regcollation::text)))
  FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = o.oid AND d.adnum = a.attnum
  WHERE o.relkind IN ('r', 'p', 'f') AND :here AND :own;
SELECT concat_ws(:'u', 'index', :named, md5(concat_ws('|', pg_get_indexdef(o.oid), i.indisvalid, i.indisclustered, i.indisreplident)))
  FROM pg_index i JOIN pg_class o ON o.oid = i.indexrelid JOIN pg_namespace n ON n.oid = o.relnamespace
  WHERE :here AND :own AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = o.oid AND c.contype IN ('p', 'u', 'x'))
  AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.deptype = 'e' AND e.classid = o.tableoid AND e.objid = i.indrelid);
SELECT concat_ws(:'u', CASE o.contype WHEN 'p' THEN 'primary key' WHEN 'f' THEN 'foreign key' WHEN 'u' THEN 'unique key' ELSE 'constraint' END,
    n.nspname || '.' || c.relname || '.' || o.conname, md5(concat_ws('|', pg_get_constraintdef(o.oid), o.convalidated)))
  FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE o.contype IN ('c', 'f', 'p', 'u', 'x') AND o.conparentid = 0 AND :here AND :own
  AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.deptype = 'e' AND e.classid = c.tableoid AND e.objid = c.oid);
SELECT concat_ws(:'u', 'trigger', n.nspname || '.' || c.relname || '.' || o.tgname, md5(concat_ws('|', pg_get_triggerdef(o.oid), o.tgenabled)))
  FROM pg_trigger o JOIN pg_class c ON c.oid = o.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE NOT o.tgisinternal AND o.tgparentid = 0 AND :here AND :own;
SELECT concat_ws(:'u', CASE o.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END,
    n.nspname || '.' || o.proname || '(' || pg_get_function_identity_arguments(o.oid) || ')', md5(CASE o.prokind WHEN 'a' THEN
    (SELECT concat_ws('|', a.aggtransfn, a.aggfinalfn, a.aggtranstype::regtype, a.agginitval) FROM pg_aggregate a WHERE a.aggfnoid = o.oid)
    ELSE pg_get_functiondef(o.oid) END))
  FROM pg_proc o JOIN pg_namespace n ON n.oid = o.pronamespace WHERE :here AND :own;
SELECT concat_ws(:'u', CASE o.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, :named,
    md5(concat_ws('|', pg_get_viewdef(o.oid), array_to_string(o.reloptions, ','), o.relispopulated)))
  FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace WHERE o.relkind IN ('v', 'm') AND :here AND :own;
SELECT concat_ws(:'u', 'sequence', :named, md5(concat_ws('|', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle)))
  FROM pg_sequence s JOIN pg_class o ON o.oid = s.seqrelid JOIN pg_namespace n ON n.oid = o.relnamespace WHERE :here AND :own;
SELECT concat_ws(:'u', 'sequence value', schemaname || '.' || sequencename, last_value) FROM pg_sequences
  WHERE schemaname !~ '^(pg_|rollback_prod_)' AND last_value IS NOT NULL;
SELECT concat_ws(:'u', 'type', n.nspname || '.' || o.typname, md5(concat_ws('|', o.typtype,
    (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = o.oid),
    CASE o.typtype WHEN 'd' THEN concat_ws('|', format_type(o.typbasetype, o.typtypmod), o.typnotnull, o.typdefault) END,
    (SELECT string_agg(pg_get_constraintdef(c.oid), ',' ORDER BY c.conname) FROM pg_constraint c WHERE c.contypid = o.oid),
    (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ',' ORDER BY a.attnum) FROM pg_attribute a
      WHERE a.attrelid = o.typrelid AND a.attnum > 0 AND NOT a.attisdropped))))
  FROM pg_type o JOIN pg_namespace n ON n.oid = o.typnamespace LEFT JOIN pg_class c ON c.oid = o.typrelid
  WHERE (o.typtype IN ('e', 'd', 'r') OR c.relkind = 'c' OR (o.typtype = 'b' AND o.typcategory <> 'A')) AND :here AND :own;
SELECT concat_ws(:'u', 'policy', schemaname || '.' || tablename || '.' || policyname, md5(concat_ws('|', permissive, roles, cmd, qual, with_check))) FROM pg_policies;
SELECT concat_ws(:'u', 'rule', n.nspname || '.' || c.relname || '.' || o.rulename, md5(concat_ws('|', pg_get_ruledef(o.oid), o.ev_enabled)))
  FROM pg_rewrite o JOIN pg_class c ON c.oid = o.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace WHERE o.rulename <> '_RETURN' AND :here AND :own;
SELECT concat_ws(:'u', 'statistics', n.nspname || '.' || o.stxname, md5(pg_get_statisticsobjdef(o.oid)))
  FROM pg_statistic_ext o JOIN pg_namespace n ON n.oid = o.stxnamespace WHERE :here AND :own;
SELECT concat_ws(:'u', 'extension', extname, extversion) FROM pg_extension;
SELECT concat_ws(:'u', 'publication', p.pubname, md5(concat_ws('|', p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
    (SELECT string_agg(t.schemaname || '.' || t.tablename, ',' ORDER BY 1) FROM pg_publication_tables t WHERE t.pubname = p.pubname)))) FROM pg_publication p;
SELECT concat_ws(:'u', 'event trigger', o.evtname, md5(concat_ws('|', o.evtevent, o.evtfoid::regproc, o.evtenabled, o.evttags::text))) FROM pg_event_trigger o WHERE :own;
SELECT concat_ws(:'u', 'large object', oid, '') FROM pg_largeobject_metadata;
\set to 'CASE a.grantee WHEN 0 THEN ''everybody'' ELSE pg_get_userbyid(a.grantee) END'
\set rights 'string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN ''*'' ELSE '''' END, '','' ORDER BY a.privilege_type)'
SELECT concat_ws(:'u', 'grant', :named || ' to ' || :to, :rights)
  FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace
  CROSS JOIN LATERAL aclexplode(coalesce(o.relacl, acldefault(CASE o.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, o.relowner))) a
  WHERE o.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND a.grantee <> o.relowner AND :here AND :own GROUP BY n.nspname, o.relname, a.grantee;
SELECT concat_ws(:'u', 'grant', :named || '.' || c.attname || ' to ' || :to, :rights)
  FROM pg_attribute c JOIN pg_class o ON o.oid = c.attrelid JOIN pg_namespace n ON n.oid = o.relnamespace CROSS JOIN LATERAL aclexplode(c.attacl) a
  WHERE :here AND :own GROUP BY n.nspname, o.relname, c.attname, a.grantee;
SELECT concat_ws(:'u', 'grant', 'schema ' || o.nspname || ' to ' || :to, :rights)
  FROM pg_namespace o CROSS JOIN LATERAL aclexplode(coalesce(o.nspacl, acldefault('n', o.nspowner))) a
  WHERE o.nspname !~ '^(pg_|rollback_prod_)' AND o.nspname <> 'information_schema' AND a.grantee <> o.nspowner AND :own GROUP BY o.nspname, a.grantee;
SELECT concat_ws(:'u', 'grant', n.nspname || '.' || o.proname || '(' || pg_get_function_identity_arguments(o.oid) || ') to ' || :to, :rights)
  FROM pg_proc o JOIN pg_namespace n ON n.oid = o.pronamespace CROSS JOIN LATERAL aclexplode(coalesce(o.proacl, acldefault('f', o.proowner))) a
  WHERE a.grantee <> o.proowner AND :here AND :own GROUP BY n.nspname, o.proname, o.oid, a.grantee;
SELECT concat_ws(:'u', 'grant', 'type ' || n.nspname || '.' || o.typname || ' to ' || :to, :rights)
  FROM pg_type o JOIN pg_namespace n ON n.oid = o.typnamespace CROSS JOIN LATERAL aclexplode(o.typacl) a
  WHERE a.grantee <> o.typowner AND :here AND :own GROUP BY n.nspname, o.typname, a.grantee;
SELECT concat_ws(:'u', 'default grant', pg_get_userbyid(o.defaclrole) || coalesce(' in ' || n.nspname, '') || ' ' || o.defaclobjtype::text || ' to ' || :to, :rights)
  FROM pg_default_acl o LEFT JOIN pg_namespace n ON n.oid = o.defaclnamespace CROSS JOIN LATERAL aclexplode(o.defaclacl) a
  GROUP BY o.defaclrole, n.nspname, o.defaclobjtype, a.grantee;
SELECT concat_ws(:'u', 'owner', :named, pg_get_userbyid(o.relowner))
  FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace WHERE o.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND :here AND :own;
SELECT concat_ws(:'u', 'owner', n.nspname || '.' || o.proname || '(' || pg_get_function_identity_arguments(o.oid) || ')', pg_get_userbyid(o.proowner))
  FROM pg_proc o JOIN pg_namespace n ON n.oid = o.pronamespace WHERE :here AND :own;
SELECT concat_ws(:'u', 'owner', 'schema ' || o.nspname, pg_get_userbyid(o.nspowner)) FROM pg_namespace o
  WHERE o.nspname !~ '^(pg_|rollback_prod_)' AND o.nspname <> 'information_schema' AND :own;
SELECT concat_ws(:'u', 'comment', pg_describe_object(d.classoid, d.objoid, d.objsubid), md5(d.description)) FROM pg_description d
  WHERE d.objoid >= 16384 AND d.classoid <> 'pg_extension'::regclass
  AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.deptype = 'e' AND e.classid = d.classoid AND e.objid = d.objoid);
SELECT concat_ws(:'u', kind, pg_describe_object(class, oid, 0), '') FROM (
    SELECT 'operator' AS kind, tableoid AS class, oid FROM pg_operator UNION ALL SELECT 'operator class', tableoid, oid FROM pg_opclass
    UNION ALL SELECT 'cast', tableoid, oid FROM pg_cast UNION ALL SELECT 'collation', tableoid, oid FROM pg_collation
    UNION ALL SELECT 'conversion', tableoid, oid FROM pg_conversion UNION ALL SELECT 'language', tableoid, oid FROM pg_language
    UNION ALL SELECT 'text search configuration', tableoid, oid FROM pg_ts_config UNION ALL SELECT 'text search dictionary', tableoid, oid FROM pg_ts_dict
    UNION ALL SELECT 'foreign server', tableoid, oid FROM pg_foreign_server UNION ALL SELECT 'foreign data wrapper', tableoid, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'transform', tableoid, oid FROM pg_transform UNION ALL SELECT 'access method', tableoid, oid FROM pg_am) o
  WHERE o.oid >= 16384 AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.deptype = 'e' AND e.classid = o.class AND e.objid = o.oid);
SQL
}

# differences LIVE COPY: of two files of such lines those things that only one of them has, or that differ: kind, `live`,
# `copy` or `both`, how many, and the first five names, with unit separators between.
differences() {
  awk -F "$rp_unit" -v u="$rp_unit" '
    function tell(side, kind, name,    at) {
      at = kind u side
      if (count[at]++ < 5) names[at] = names[at] u name
    }
    NR == FNR { live[$1 u $2] = $3; next }
    { key = $1 u $2; if (!(key in live)) tell("copy", $1, $2); else { if (live[key] != $3) tell("both", $1, $2); seen[key] } }
    END {
      for (key in live) {
        split(key, part, u)
        if (!(key in seen)) tell("live", part[1], part[2])
      }
      for (at in count) print at u count[at] names[at]
    }' "$1" "$2"
}

# migrations DATABASE: what tools for migrations have applied there, the oldest first, as JSON; see migrations.rs, which reads
# the same tables in a dump.
migrations() {
  sql "$1" 2>/dev/null <<'SQL'
SET statement_timeout = '20s';
SELECT format('SELECT jsonb_build_object(''tool'', %L, ''version'', %s) FROM (SELECT * FROM %I.%I WHERE %s ORDER BY %s DESC LIMIT 100000) t ORDER BY %s',
    k.tool, k.version, n.nspname, c.relname, k.counts, k.ordered, k.ordered)
  FROM (VALUES (1, 'alembic', 'alembic_version', 'version_num', 'version_num::text', 'true', 'version_num'),
    (2, 'golang-migrate', 'schema_migrations', 'dirty', 'version::text', 'true', 'version'),
    (3, 'rails', 'schema_migrations', 'version', 'version::text', 'true', 'version'),
    (4, 'prisma', '_prisma_migrations', 'migration_name', 'migration_name', 'rolled_back_at IS NULL', 'started_at'),
    (5, 'drizzle', '__drizzle_migrations', 'hash', 'created_at::text', 'true', 'created_at'),
    (6, 'flyway', 'flyway_schema_history', 'installed_rank', 'version', 'success AND version IS NOT NULL', 'installed_rank'),
    (7, 'liquibase', 'databasechangelog', 'orderexecuted', 'filename || ''.'' || id', 'true', 'orderexecuted'),
    (8, 'django', 'django_migrations', 'applied', 'app || ''.'' || name', 'true', 'id'),
    (9, 'sqlx', '_sqlx_migrations', 'checksum', 'version::text', 'success', 'version'),
    (10, 'diesel', '__diesel_schema_migrations', 'run_on', 'version', 'true', 'version'),
    (11, 'goose', 'goose_db_version', 'is_applied', 'version_id::text', 'is_applied', 'id'),
    (12, 'knex', 'knex_migrations', 'migration_time', 'name', 'true', 'id')) k (place, tool, relation, has, version, counts, ordered)
  JOIN pg_class c ON c.relname = k.relation AND c.relkind IN ('r', 'p') JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = k.has AND NOT a.attisdropped)
  AND NOT (k.tool = 'rails' AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'dirty'))
  ORDER BY k.place
\gexec
SQL
}
