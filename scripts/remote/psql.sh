# Shared by every script that talks to PostgreSQL; sent behind lib.sh. Finds how psql reaches the server as the admin
# role, once; later scripts are told (way). Values go into SQL only as psql's variables, never as text.
# Takes: service admin=postgres container way
# A way that was told may name the port and the program besides; see without_wrapper.
rp_psql=psql rp_port=''

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
  printf '%s\n' "$rp_psql" -w -U "$admin"
  if [ -n "$rp_port" ]; then printf '%s\n' -p "$rp_port"; fi
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
  if [ -n "$rp_port" ]; then set -- -p "$rp_port" "$@"; fi
  pg "$rp_psql" -X -q -A -t -w -v ON_ERROR_STOP=1 -U "$admin" "$@" \
    -d "$(conninfo "$rp_database") client_encoding=UTF8" -f -
}

# Which server it is that answers: its port, its version, and since when it runs.
rp_which="SELECT concat_ws(' ', current_setting('port'), current_setting('server_version_num')::int / 10000,
  extract(epoch FROM pg_postmaster_start_time()));"
# without_wrapper ANSWER: Debian's psql is a script in Perl that looks for the server and its psql, and takes three times as
# long as that. Once it has been asked which server it is, the psql itself is called, where it leads to the same.
without_wrapper() {
  [ "$way" != container ] || return 0
  case $(readlink -f "$(command -v psql)") in */pg_wrapper) ;; *) return 0 ;; esac
  rp_rest=${1#* }
  rp_folder=/usr/lib/postgresql/${rp_rest%% *}/bin
  [ -x "$rp_folder/psql" ] || return 0
  if [ "$way" = sudo ]; then sudo -n -l -u "$admin" "$rp_folder/psql" >/dev/null 2>&1 || return 0; fi
  rp_psql=$rp_folder/psql rp_port=${1%% *}
  [ "$(printf '%s\n' "$rp_which" | sql "$2" 2>/dev/null)" = "$1" ] || rp_psql=psql rp_port=
}

# find_psql: sets way; a section `access` with the way, or with what each way said. Fails where there is none.
find_psql() {
  if ! has psql; then
    for rp_folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin; do
      if [ -x "$rp_folder/psql" ]; then PATH=$rp_folder:$PATH; fi
    done
  fi
  case $way in
    *' '*)
      rp_psql=${way##* } rp_port=${way#* }
      rp_port=${rp_port%% *} way=${way%% *}
      return 0
      ;;
    ?*) return 0 ;;
  esac
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
      if rp_answer=$(printf '%s\n' "$rp_which" | sql "$rp_first" 2>/dev/null); then
        without_wrapper "$rp_answer" "$rp_first"
        section access
        printf '%s' "$way${rp_port:+ $rp_port $rp_psql}"
        return 0
      fi
      rp_answer=$(printf '%s\n' "$rp_which" | sql "$rp_first" 2>&1 >/dev/null)
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
