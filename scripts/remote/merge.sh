# Puts rows that stand in a schema of their own into the live tables, or takes back what an earlier one put there: one
# transaction, in which nobody else writes to those tables. What was there before is kept in a schema of its own.
# Takes: run holder number live plan from kept comment seconds=5 longest=120 back=no delete_missing=no fire_triggers=no
# plan is a JSON list of tables with schema, table, kept, columns, picked, key, always, is_parted, those that others refer to
# first; from is the schema that stage.sh filled or, with back=yes, the one that a merge kept. A lock is waited for `seconds`,
# all of it takes at most `longest`.
# Exit: 0 done; 70 not done, all is as it was; 93 as in switch.sh
if fenced "$group" "$holder" "$number"; then return 93; fi

merge() {
  sql "$live" -v plan="$plan" -v from="$from" -v kept="$kept" -v comment="$comment" -v back="$back" -v merged="merged-$rp_nonce" \
    -v delete_missing="$delete_missing" -v fire_triggers="$fire_triggers" -v limit="${seconds}s" -v longest="${longest}s" <<'SQL'
SET application_name = 'rollback-prod';
SELECT set_config('rollback_prod.plan', :'plan', false), set_config('rollback_prod.from', :'from', false),
  set_config('rollback_prod.kept', :'kept', false), set_config('rollback_prod.back', :'back', false),
  set_config('rollback_prod.delete_missing', :'delete_missing', false),
  set_config('rollback_prod.fire_triggers', :'fire_triggers', false) \g /dev/null
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = :'limit';
SET LOCAL statement_timeout = :'longest';
SET LOCAL row_security = off;
DO $merge$
DECLARE
  tables jsonb[];
  oids oid[];
  -- With their partitions, which may have keys of their own.
  family oid[];
  t jsonb;
  r record;
  back bool := current_setting('rollback_prod.back') = 'yes';
  delete_missing bool := current_setting('rollback_prod.delete_missing') = 'yes';
  is_replica bool := false;
  again text[] := '{}';
  statement text;
  n bigint;
  newest bigint;
  last_value bigint;
  is_called bool;
  phase text;
  i int;
BEGIN
  -- Names, lists and conditions of each table, as SQL: l is a live row, s one that stands ready, k one that is kept.
  SELECT array_agg(jsonb_build_object('name', v ->> 'schema' || '.' || (v ->> 'table'), 'oid', named::regclass::oid, 'named', named,
      'live', CASE v ->> 'is_parted' WHEN 'true' THEN '' ELSE 'ONLY ' END || named,
      'from', CASE WHEN back THEN format('%I.%I', current_setting('rollback_prod.from'), v ->> 'kept')
        ELSE format('%I.%I', current_setting('rollback_prod.from'), place::text) END,
      'kept', format('%I.%I', current_setting('rollback_prod.kept'), v ->> 'kept'),
      'columns', c.plain, 'l_columns', c.l, 'picked', p.plain, 'l_picked', p.l, 's_picked', p.s, 'names', p.names,
      'is_same', k.same, 'is_kept', k.kept, 'set', p.set, 'key', v -> 'key', 'always', v -> 'always') ORDER BY place)
    INTO tables
    FROM (SELECT v, place, format('%I.%I', v ->> 'schema', v ->> 'table') AS named
      FROM jsonb_array_elements(current_setting('rollback_prod.plan')::jsonb) WITH ORDINALITY x (v, place)) x
    CROSS JOIN LATERAL (SELECT string_agg(format('%I', c), ', ' ORDER BY o) AS plain, string_agg(format('l.%I', c), ', ' ORDER BY o) AS l
      FROM jsonb_array_elements_text(v -> 'columns') WITH ORDINALITY y (c, o)) c
    -- What goes back is all of what was kept.
    CROSS JOIN LATERAL (SELECT string_agg(format('%I', c), ', ' ORDER BY o) AS plain, string_agg(format('l.%I', c), ', ' ORDER BY o) AS l,
        string_agg(format('s.%I', c), ', ' ORDER BY o) AS s, jsonb_agg(c) AS names,
        string_agg(format('%I = s.%I', c, c), ', ' ORDER BY o) FILTER (WHERE NOT v -> 'key' ? c) AS set
      FROM jsonb_array_elements_text(CASE WHEN back THEN v -> 'columns' ELSE v -> 'picked' END) WITH ORDINALITY y (c, o)) p
    CROSS JOIN LATERAL (SELECT string_agg(format('l.%I = s.%I', c, c), ' AND ') AS same,
        string_agg(format('l.%I = k.%I', c, c), ' AND ') AS kept
      FROM jsonb_array_elements_text(v -> 'key') y (c)) k;
  SELECT array_agg((x ->> 'oid')::oid ORDER BY (x ->> 'oid')::oid) INTO oids FROM unnest(tables) x;
  SELECT array_agg(o) INTO family FROM (SELECT unnest(oids) AS o UNION SELECT q.relid FROM unnest(oids) o, pg_partition_tree(o) q) f;

  -- A key that is checked at the end of a transaction is checked by a trigger, which a replica has not.
  IF current_setting('rollback_prod.fire_triggers') <> 'yes' AND NOT EXISTS (SELECT FROM pg_constraint c
      WHERE c.condeferrable AND c.contype IN ('p', 'u', 'x') AND c.conrelid = ANY (family)) THEN
    BEGIN
      PERFORM set_config('session_replication_role', 'replica', true);
      is_replica := true;
    EXCEPTION WHEN insufficient_privilege THEN
      NULL;
    END;
  END IF;
  -- In one order, so that two of us do not wait for each other. Readers go on.
  FOR r IN SELECT x ->> 'live' AS live, CASE x -> 'always' WHEN '[]' THEN 'SHARE ROW EXCLUSIVE' ELSE 'ACCESS EXCLUSIVE' END AS mode
      FROM unnest(tables) x ORDER BY (x ->> 'oid')::oid LOOP
    EXECUTE format('LOCK TABLE %s IN %s MODE', r.live, r.mode);
  END LOOP;
  IF current_setting('rollback_prod.fire_triggers') <> 'yes' THEN
    FOR r IN SELECT g.tgname, g.tgenabled, g.tgrelid::regclass AS named FROM pg_trigger g
      WHERE NOT g.tgisinternal AND g.tgenabled = ANY (CASE WHEN is_replica THEN '{A,R}' ELSE '{O,A}' END::"char"[])
      AND g.tgrelid = ANY (family) LOOP
      EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', r.named, r.tgname);
      again := again || format('ALTER TABLE %s ENABLE %s TRIGGER %I', r.named,
        CASE r.tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE '' END, r.tgname);
    END LOOP;
  END IF;
  FOREACH t IN ARRAY tables LOOP
    FOR r IN SELECT c FROM jsonb_array_elements_text(t -> 'always') x (c) LOOP
      EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET GENERATED BY DEFAULT', t ->> 'named', r.c);
      again := again || format('ALTER TABLE %s ALTER COLUMN %I SET GENERATED ALWAYS', t ->> 'named', r.c);
    END LOOP;
  END LOOP;
  -- What is referred to must stay until this is done; a foreign key would see to that, and is not asked in this role.
  IF is_replica THEN
    FOR r IN SELECT format('SELECT FROM %s y WHERE EXISTS (SELECT FROM %s x WHERE %s) FOR KEY SHARE OF y', f.confrelid::regclass, x ->> 'from',
        (SELECT string_agg(format('y.%I = x.%I', b.attname, a.attname), ' AND ') FROM unnest(f.conkey, f.confkey) m (c, d)
          JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = m.c JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = m.d)) AS statement
      FROM pg_constraint f JOIN unnest(tables) x ON (x ->> 'oid')::oid = f.conrelid
      WHERE f.contype = 'f' AND f.conparentid = 0 AND NOT f.confrelid = ANY (oids)
      AND NOT EXISTS (SELECT FROM unnest(f.conkey) m (c) JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = m.c
        WHERE NOT x -> 'names' ? a.attname) LOOP
      EXECUTE r.statement;
    END LOOP;
  END IF;

  EXECUTE format('CREATE SCHEMA %I', current_setting('rollback_prod.kept'));
  FOR i IN 1 .. array_length(tables, 1) LOOP
    t := tables[i];
    -- Not logged until it is done: what is, is sent to whoever subscribes to all tables.
    EXECUTE format('CREATE UNLOGGED TABLE %s AS SELECT %s, NULL::text AS rollback_prod_was, NULL::text AS rollback_prod_now FROM %s l WITH NO DATA',
      t ->> 'kept', t ->> 'l_columns', t ->> 'live');
    tables[i] := t || jsonb_build_object('changed', 0, 'inserted', 0, 'deleted', 0, 'doomed', CASE
      WHEN t ->> 'is_same' IS NULL THEN 'true'
      WHEN back THEN format('EXISTS (SELECT FROM %s s WHERE s.rollback_prod_was = ''inserted'' AND %s)', t ->> 'from', t ->> 'is_same')
      WHEN delete_missing THEN format('NOT EXISTS (SELECT FROM %s s WHERE %s)', t ->> 'from', t ->> 'is_same')
      ELSE 'false' END);
  END LOOP;
  -- A foreign key that deletes with its row, or forgets it, would change a table that nobody named.
  IF NOT is_replica THEN
    FOR r IN SELECT f.conname, f.conrelid::regclass AS named, x ->> 'name' AS of, format('SELECT count(*) FROM %s x JOIN %s l ON %s WHERE %s',
        f.conrelid::regclass, x ->> 'live', (SELECT string_agg(format('l.%I = x.%I', b.attname, a.attname), ' AND ') FROM unnest(f.conkey, f.confkey) m (c, d)
          JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = m.c JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = m.d),
        x ->> 'doomed') AS statement
      FROM pg_constraint f JOIN unnest(tables) x ON (x ->> 'oid')::oid = f.confrelid
      WHERE f.contype = 'f' AND f.conparentid = 0 AND f.confdeltype IN ('c', 'n', 'd') AND NOT f.conrelid = ANY (oids) AND x ->> 'doomed' <> 'false' LOOP
      EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', r.named);
      EXECUTE r.statement INTO n;
      IF n > 0 THEN
        RAISE EXCEPTION '% of % refer to rows of % that would be deleted (%)', CASE n WHEN 1 THEN '1 row' ELSE n || ' rows' END, r.named, r.of, r.conname;
      END IF;
    END LOOP;
  END IF;
  -- Where keys are not asked, what goes makes room first; where they are, each row must have what it refers to all along.
  FOREACH phase IN ARRAY CASE WHEN is_replica THEN '{delete,write}' ELSE '{write,delete}' END::text[] LOOP
    FOR step IN 1 .. array_length(tables, 1) LOOP
      -- What refers to others is written last, and deleted first.
      i := CASE phase WHEN 'write' THEN step ELSE array_length(tables, 1) + 1 - step END;
      t := tables[i];
      IF (phase = 'delete' AND t ->> 'is_same' IS NOT NULL OR phase = 'write' AND t ->> 'is_same' IS NULL) AND t ->> 'doomed' <> 'false' THEN
        EXECUTE format('INSERT INTO %s SELECT %s, ''deleted'' FROM %s l WHERE %s', t ->> 'kept', t ->> 'l_columns', t ->> 'live', t ->> 'doomed');
        EXECUTE format('DELETE FROM %s l WHERE %s', t ->> 'live', t ->> 'doomed');
        GET DIAGNOSTICS n = ROW_COUNT;
        t := t || jsonb_build_object('deleted', n);
      END IF;
      IF phase = 'write' THEN
        IF t ->> 'set' IS NOT NULL AND t ->> 'is_same' IS NOT NULL THEN
          statement := format('%s AND ROW(%s)::text IS DISTINCT FROM ROW(%s)::text', t ->> 'is_same', t ->> 's_picked', t ->> 'l_picked')
            || CASE WHEN back THEN ' AND s.rollback_prod_was <> ''inserted''' ELSE '' END;
          EXECUTE format('INSERT INTO %s SELECT %s, ''changed'' FROM %s l JOIN %s s ON %s', t ->> 'kept', t ->> 'l_columns', t ->> 'live',
            t ->> 'from', statement);
          EXECUTE format('UPDATE %s l SET %s FROM %s s WHERE %s', t ->> 'live', t ->> 'set', t ->> 'from', statement);
          GET DIAGNOSTICS n = ROW_COUNT;
          t := t || jsonb_build_object('changed', n);
        END IF;
        statement := format('FROM %s s WHERE %s', t ->> 'from', CASE WHEN back THEN 's.rollback_prod_was <> ''inserted''' ELSE 'true' END)
          || CASE WHEN t ->> 'is_same' IS NULL THEN ''
            ELSE format(' AND NOT EXISTS (SELECT FROM %s l WHERE %s)', t ->> 'live', t ->> 'is_same') END;
        EXECUTE format('INSERT INTO %s (%s, rollback_prod_was) SELECT %s, ''inserted'' %s', t ->> 'kept', t ->> 'picked', t ->> 's_picked', statement);
        EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s %s', t ->> 'named', t ->> 'picked', t ->> 's_picked', statement);
        GET DIAGNOSTICS n = ROW_COUNT;
        t := t || jsonb_build_object('inserted', n);
        -- What a row is now, so that an undo can say who wrote to it since.
        IF t ->> 'is_kept' IS NOT NULL THEN
          EXECUTE format('UPDATE %s k SET rollback_prod_now = md5(ROW(%s)::text) FROM %s l WHERE k.rollback_prod_was <> ''deleted'' AND %s',
            t ->> 'kept', t ->> 'l_columns', t ->> 'live', t ->> 'is_kept');
        END IF;
      END IF;
      tables[i] := t;
    END LOOP;
  END LOOP;

  -- In both directions, whoever else refers to these tables.
  -- A table that a row of these is referred to from is read whole, and not where nothing can have come loose there.
  FOR r IN SELECT f.conname, f.conrelid::regclass AS is_from, f.confrelid::regclass AS is_to,
      CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END AS only_from, CASE d.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END AS only_to,
      string_agg(format('x.%I IS NOT NULL', a.attname), ' AND ') AS given, string_agg(format('y.%I = x.%I', b.attname, a.attname), ' AND ') AS leads
    FROM pg_constraint f CROSS JOIN LATERAL unnest(f.conkey, f.confkey) m (c, d)
    JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = m.c JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = m.d
    JOIN pg_class c ON c.oid = f.conrelid JOIN pg_class d ON d.oid = f.confrelid
    WHERE f.contype = 'f' AND f.convalidated AND f.conparentid = 0 AND (f.conrelid = ANY (family) OR f.confrelid = ANY (family))
    AND (f.conrelid = ANY (family) OR NOT EXISTS (SELECT FROM unnest(tables) x WHERE (x ->> 'oid')::oid = f.confrelid
      AND (x ->> 'deleted')::bigint = 0 AND NOT EXISTS (SELECT FROM unnest(f.confkey) k (c)
        JOIN pg_attribute e ON e.attrelid = f.confrelid AND e.attnum = k.c WHERE NOT x -> 'key' ? e.attname)))
    GROUP BY f.oid, f.conname, f.conrelid, f.confrelid, c.relkind, d.relkind LOOP
    EXECUTE format('SELECT count(*) FROM %s%s x WHERE %s AND NOT EXISTS (SELECT FROM %s%s y WHERE %s)', r.only_from, r.is_from, r.given,
      r.only_to, r.is_to, r.leads) INTO n;
    IF n > 0 THEN
      RAISE EXCEPTION '% of % would refer to what is not in % (%)', CASE n WHEN 1 THEN '1 row' ELSE n || ' rows' END, r.is_from, r.is_to, r.conname;
    END IF;
  END LOOP;
  -- The next number must be one that no row has.
  FOR r IN SELECT DISTINCT q.oid::regclass AS named, a.attname, x ->> 'live' AS live
    FROM unnest(tables) x JOIN pg_attribute a ON a.attrelid = (x ->> 'oid')::oid AND a.attnum > 0 AND NOT a.attisdropped
      AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
    LEFT JOIN pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
    JOIN pg_depend d ON (d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
        AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i'))
      OR (d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid AND d.refclassid = 'pg_class'::regclass)
    JOIN pg_class q ON q.relkind = 'S' AND q.oid = CASE d.classid WHEN 'pg_class'::regclass THEN d.objid ELSE d.refobjid END
    JOIN pg_sequence p ON p.seqrelid = q.oid AND p.seqincrement > 0 LOOP
    EXECUTE format('SELECT max(%I) FROM %s', r.attname, r.live) INTO newest;
    EXECUTE format('SELECT last_value, is_called FROM %s', r.named) INTO last_value, is_called;
    IF newest > last_value OR newest = last_value AND NOT is_called THEN
      PERFORM setval(r.named, newest);
    END IF;
  END LOOP;
  -- Keys that are checked at the end of a transaction are checked here: a table with checks that wait cannot be altered.
  SET CONSTRAINTS ALL IMMEDIATE;
  FOREACH statement IN ARRAY again LOOP
    EXECUTE statement;
  END LOOP;
  FOREACH t IN ARRAY tables LOOP
    EXECUTE format('ALTER TABLE %s SET LOGGED', t ->> 'kept');
  END LOOP;
  PERFORM set_config('rollback_prod.told', (SELECT jsonb_agg(jsonb_build_object('table', x -> 'name', 'changed', x -> 'changed',
    'inserted', x -> 'inserted', 'deleted', x -> 'deleted'))::text FROM unnest(tables) x), true);
END
$merge$;
COMMENT ON SCHEMA :"kept" IS :'comment';
SELECT current_setting('rollback_prod.told') AS told \gset
SELECT :'back' <> 'yes' AS is_staged \gset
\if :is_staged
DROP SCHEMA :"from" CASCADE;
\endif
COMMIT;
\echo :merged
\echo :told
SQL
}

go() {
  section merge
  began=$(date +%s%N)
  said=$(merge 2>&1)
  ended=$(date +%s%N)
  case $said in
    *"merged-$rp_nonce"*)
      section told
      printf '%s\n' "${said##*"merged-$rp_nonce"}"
      section took
      printf '%s' "$(((ended - began) / 1000000))"
      return 0
      ;;
  esac
  printf '%s\n' "$said"
  return 70
}

find_psql >/dev/null || return 70
detached "$service" "$run.merge" go
