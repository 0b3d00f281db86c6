# Shared by every script that talks to PostgreSQL; sent behind lib.sh. Finds how psql reaches the server as the admin
# role, once; later scripts are told (way=). Values go into SQL only as psql's variables, never as text.
rp_admin=postgres rp_container='' rp_way='' service=''

# database_argument ARGUMENT: takes those that all of these scripts have.
database_argument() {
  case $1 in
    sudo=*) rp_sudo=${1#*=} ;;
    service=*) service=${1#*=} ;;
    admin=*) rp_admin=${1#*=} ;;
    container=*) rp_container=${1#*=} ;;
    way=*) rp_way=${1#*=} ;;
  esac
}

# pg PROGRAM ARGUMENT…: one of PostgreSQL's programs, where the server is and as who may.
pg() {
  case $rp_way in
    container) docker exec -i "$rp_container" "$@" ;;
    sudo) (cd / && sudo -n -u "$rp_admin" "$@") ;;
    *) "$@" ;;
  esac
}

# psql_words: what stands before the database in every call of psql, a word a line.
psql_words() {
  case $rp_way in
    container) printf '%s\n' docker exec -i "$rp_container" ;;
    sudo) printf '%s\n' sudo -n -u "$rp_admin" ;;
  esac
  printf '%s\n' psql -w -U "$rp_admin"
  if [ "$rp_way" = tcp ]; then printf '%s\n' -h localhost; fi
}

# conninfo DATABASE: as a connection string, because psql reads a name with a `=` in it as one.
conninfo() {
  printf "dbname='%s' application_name=rollback-prod" "$(printf '%s' "$1" | sed "s/[\\\\']/\\\\&/g")"
}

# sql DATABASE PSQL-ARGUMENT…: statements from standard input; rows without decoration, in UTF-8.
sql() {
  rp_database=$1
  shift
  if [ "$rp_way" = tcp ]; then set -- -h localhost "$@"; fi
  pg psql -X -q -A -t -w -v ON_ERROR_STOP=1 -U "$rp_admin" "$@" \
    -d "$(conninfo "$rp_database") client_encoding=UTF8" -f -
}

# find_psql: sets rp_way; a section `access` with the way, or with what each way said. Fails where there is none.
find_psql() {
  if ! has psql; then
    for rp_folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin; do
      if [ -x "$rp_folder/psql" ]; then PATH=$rp_folder:$PATH; fi
    done
  fi
  [ -z "$rp_way" ] || return 0
  rp_said=
  if [ -n "$rp_container" ]; then
    rp_ways=container
  elif id -u "$rp_admin" >/dev/null 2>&1; then
    rp_ways='direct sudo tcp'
  else
    rp_ways='direct tcp'
  fi
  for rp_way in $rp_ways; do
    # A server without a database `postgres` has template1.
    for rp_first in postgres template1; do
      if rp_answer=$(printf 'SELECT 1;\n' | sql "$rp_first" 2>&1) && [ "$rp_answer" = 1 ]; then
        section access
        printf '%s' "$rp_way"
        return 0
      fi
      case $rp_answer in *"database \"$rp_first\" does not exist"*) ;; *) break ;; esac
    done
    rp_said="$rp_said$rp_way: $(printf '%s\n' "$rp_answer" | sed -n '$p')
"
  done
  rp_way=
  section access
  printf 'none\n%s' "$rp_said"
  return 1
}

# loads_folder RUN: where a load of a run leaves its record.
loads_folder() {
  rp_state=$(state_folder) || return 1
  printf '%s/rollback-prod-%s-loads-%s/%s' "$rp_state" "$service" "$rp_uid" "$1"
}
