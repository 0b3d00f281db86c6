# Makes a copy beside the live database and loads a dump into it, in a job that outlives this line; returns at once.
# Takes: run holder number copy model owner comment file kind=plain jobs=2 size=0 bytes=0 in_order=no split...
# model is the live database, or nothing; size the file's; bytes are those of the program that is carried, packed, on 3;
# split the COPY blocks, by their places, that all jobs load together.
# Exit: 0 it was begun, now or before; 90 no folder for its record; 93 as in switch.sh. The job's own exit: 0 loaded; 60 the copy could not
#   be made; 61 the load failed and the copy is dropped; 62 and it could not be dropped
if fenced "$group" "$holder" "$number"; then return 93; fi
section started
if find_load "$run"; then
  [ -e "$folder/pid" ] || return 90
  printf again
  return 0
fi
begin_in() {
  folder=$1/$service.loads/$run
  mkdir -p "${folder%/*}" && mkdir "$folder"
}
each_own_place begin_in 2>/dev/null || return 90
find_psql >/dev/null
has pg_restore || for path in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do PATH=$PATH:$path; done
carry "$bytes"

stage() {
  printf '%s %s %s\n' "$1" "${2:-0}" "${3:-0}" >"$folder/progress.new"
  mv -f "$folder/progress.new" "$folder/progress"
}

create() {
  stage create
  sql postgres -v copy="$copy" -v model="$model" -v owner="$owner" -v comment="$comment" <<'SQL'
SELECT format('CREATE DATABASE %I TEMPLATE template0 OWNER %I ENCODING %L LC_COLLATE %L LC_CTYPE %L',
    :'copy', pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), d.datcollate, d.datctype)
  -- Who names one must have a right to it, also to the one that it would have anyway.
  || CASE WHEN d.dattablespace <> (SELECT dattablespace FROM pg_database WHERE datname = 'template0')
    THEN format(' TABLESPACE %I', t.spcname) ELSE '' END
  || CASE WHEN to_jsonb(d) ->> 'datlocprovider' = 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L',
    coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale')) ELSE '' END
  FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = :'model'
UNION ALL SELECT format('CREATE DATABASE %I TEMPLATE template0', :'copy')
  || CASE WHEN :'owner' <> '' THEN format(' OWNER %I', :'owner') ELSE '' END WHERE :'model' = ''
\gexec
COMMENT ON DATABASE :"copy" IS :'comment';
SQL
}

drop() {
  sql postgres -v copy="$copy" <<'SQL'
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :'copy' AND pid <> pg_backend_pid() \g /dev/null
SELECT pg_sleep(0.1) \g /dev/null
DROP DATABASE IF EXISTS :"copy";
SQL
}

split_word() { printf '%s\n' "--split=$1"; }
# by_agent OPTION…: over several connections.
by_agent() {
  run_lines "$rp_agent
load
--jobs=$jobs
--progress=$folder/progress
--bytes=$size
$(with_split each split_word)
$(printf '%s\n' "$@")
$(reader_words "$file" | sed 's/^/--read=/')
--
$(psql_words)
-d
$(conninfo "$copy")" >"$folder/scan"
}

# in_one: in one transaction, with what every host has.
in_one() {
  stage data
  packed=no
  if is_text_packed; then packed=gzip; fi
  dump_text "$file" 2>/dev/null | scan_text -v packed="$packed" -v report="$folder/scan" -v pass=1 |
    run_lines "$(psql_words)
-X
-q
-1
-v
ON_ERROR_STOP=1
-o
/dev/null
-d
$(conninfo "$copy")"
}

# by_pg_restore: custom and directory format, where the server's user may read it.
by_pg_restore() {
  stage data
  if [ "$way" = tcp ]; then set -- -h localhost; else set --; fi
  pg pg_restore -w -U "$admin" "$@" -j "$jobs" --exit-on-error -d "$(conninfo "$copy")" "${rp_placed:-$file}"
}

load() {
  rp_placed=
  read_kind "$file" || return 1
  # Of what is packed as a whole, and of tar, pg_restore cannot read two parts at once.
  case $kind,$rp_packer in
    custom, | directory,)
      if [ "$way" = container ]; then
        place "$file" || return 1
        by_pg_restore
        status=$?
        take_away
        return "$status"
      fi
      # shellcheck disable=SC2016
      if [ "$(pg sh -c 'test -r "$1" && echo yes' sh "$file" 2>/dev/null)" = yes ]; then
        by_pg_restore
        return
      fi
      ;;
  esac
  if [ -z "$rp_agent" ]; then
    in_one
    return
  fi
  if [ "$in_order" = yes ]; then
    by_agent --in-order
    return
  fi
  by_agent
  status=$?
  # Not in pg_dump's own order: again from the beginning, one statement after the other.
  if [ "$status" = 3 ] && drop && create; then
    by_agent --in-order
    status=$?
  fi
  return "$status"
}

job() {
  if ! create; then
    drop >/dev/null 2>&1
    put_down
    return 60
  fi
  if load; then
    put_down
    stage analyze
    if pg vacuumdb -w -U "$admin" --analyze-only -q -j "$jobs" -d "$(conninfo "$copy")" >/dev/null 2>&1 ||
      echo 'ANALYZE;' | sql "$copy"; then
      stage ready
      return 0
    fi
  fi
  put_down
  drop && return 61
  return 62
}

(
  trap '' HUP INT TERM PIPE
  job >"$folder/out" 2>&1
  printf '%s\n' "$?" >"$folder/status.new"
  mv -f "$folder/status.new" "$folder/status"
) </dev/null >/dev/null 2>&1 3<&- &
read_start "$!"
printf '%s %s\n' "$!" "$rp_start" >"$folder/pid"
printf now
