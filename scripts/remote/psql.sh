# Shared by every script that talks to PostgreSQL; sent behind lib.sh. Finds how psql reaches the server as the admin
# role, once; later scripts are told (way). Values go into SQL only as psql's variables, never as text.
# Takes: service admin=postgres container way

# pg PROGRAM ARGUMENT…: one of PostgreSQL's programs, where the server is and as who may.
pg() {
  case $way in
    container) docker exec -i "$container" "$@" ;;
    sudo) (cd / && sudo -n -u "$admin" "$@") ;;
    *) "$@" ;;
  esac
}

# psql_words: what stands before the database in every call of psql, a word a line.
psql_words() {
  case $way in
    container) printf '%s\n' docker exec -i "$container" ;;
    sudo) printf '%s\n' sudo -n -u "$admin" ;;
  esac
  printf '%s\n' psql -w -U "$admin"
  if [ "$way" = tcp ]; then printf '%s\n' -h localhost; fi
}

# conninfo DATABASE: as a connection string, because psql reads a name with a `=` in it as one.
conninfo() {
  printf "dbname='%s' application_name=rollback-prod" "$(printf '%s' "$1" | sed "s/[\\\\']/\\\\&/g")"
}

# sql DATABASE PSQL-ARGUMENT…: statements from standard input; rows without decoration, in UTF-8.
sql() {
  rp_database=$1
  shift
  if [ "$way" = tcp ]; then set -- -h localhost "$@"; fi
  pg psql -X -q -A -t -w -v ON_ERROR_STOP=1 -U "$admin" "$@" \
    -d "$(conninfo "$rp_database") client_encoding=UTF8" -f -
}

# find_psql: sets way; a section `access` with the way, or with what each way said. Fails where there is none.
find_psql() {
  if ! has psql; then
    for rp_folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin; do
      if [ -x "$rp_folder/psql" ]; then PATH=$rp_folder:$PATH; fi
    done
  fi
  [ -z "$way" ] || return 0
  rp_said=
  if [ -n "$container" ]; then
    rp_ways=container
  elif id -u "$admin" >/dev/null 2>&1; then
    rp_ways='direct sudo tcp'
  else
    rp_ways='direct tcp'
  fi
  for way in $rp_ways; do
    # A server without a database `postgres` has template1.
    for rp_first in postgres template1; do
      if rp_answer=$(printf 'SELECT 1;\n' | sql "$rp_first" 2>/dev/null) && [ "$rp_answer" = 1 ]; then
        section access
        printf '%s' "$way"
        return 0
      fi
      rp_answer=$(printf 'SELECT 1;\n' | sql "$rp_first" 2>&1 >/dev/null)
      case $rp_answer in *"database \"$rp_first\" does not exist"*) ;; *) break ;; esac
    done
    rp_said="$rp_said$way: $(printf '%s\n' "$rp_answer" | sed -n '$p')
"
  done
  way=
  section access
  printf 'none\n%s' "$rp_said"
  return 1
}

# find_load RUN: the folder in which a load of a run has its record, into $folder; fails where there is none.
find_load() {
  folder=
  each_place look_for_load "$1"
  [ -n "$folder" ]
}
look_for_load() {
  if is_ours "$2" && [ -d "$2/$service.loads/$1" ]; then folder=$2/$service.loads/$1; fi
}
