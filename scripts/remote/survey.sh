# Everything on a host that nobody has described yet, from which a config could be written. Only asks; leaves nothing behind.
# Takes: most
# Of files beside nginx's own, no more than `most` are told. Whatever is not there is a section that is not there.
# Always ends with 0.

# tried_as_root COMMAND…: as we are, and where that fails through sudo; what it says of a failure is nobody's.
tried_as_root() { "$@" 2>/dev/null || as_root "$@" 2>/dev/null; }
# joined WORD…: on one line, with unit separators between.
joined() {
  rp_joined=$1
  shift
  for rp_one in "$@"; do rp_joined=$rp_joined$rp_unit$rp_one; done
  printf '%s\n' "$rp_joined"
}
# one_line: what comes in on one line, so that no name of a file or a command begins a new one.
one_line() { tr '\n\037' '  '; }

section who
printf '%s\n%s\n' "$rp_uid" "${LOGNAME:-$(id -un)}"
section rights
if [ "$rp_uid" = 0 ]; then
  printf root
elif ! has sudo; then
  printf 'no sudo'
else
  sudo -n -l 2>&1 | sed -n '/NOPASSWD: ALL/{s/.*/all/p;q;}'
  sudo -n true >/dev/null 2>&1 || sudo -n -l >/dev/null 2>&1 || printf none
fi
section addresses
awk 'FILENAME !~ /fib_trie$/ { print $1; next }
  /32 host LOCAL/ && !seen[last]++ { print last }
  { last = $2 }' /proc/net/fib_trie /proc/net/if_inet6 2>/dev/null

# --- nginx ---
told=0
# tell_beside FILE
tell_beside() {
  if [ "$told" -ge "$most" ] || [ ! -f "$1" ]; then return 0; fi
  case $1 in *.types | */fastcgi* | */scgi_params | */uwsgi_params | */koi-* | */win-utf | */proxy_params) return 0 ;; esac
  told=$((told + 1))
  section nginx.beside
  printf '%s\n' "$1"
  read_whole "$1" 2>/dev/null | head -c 65536
}
# loaded_files: the names of those that a dump on standard input has.
loaded_files() { sed -n 's/^# configuration file \(.*\):$/\1/p'; }
tell_links() {
  section nginx.links
  while IFS= read -r file; do
    [ ! -L "$file" ] || joined "$file" "$(readlink -f "$file")"
  done
}
# by_reading FILE: what nginx would show, as far as we may read it: the file, and what it includes by patterns of one level.
by_reading() {
  for rp_seen in "$1" /etc/nginx/conf.d/*.conf /etc/nginx/sites-enabled/* /etc/nginx/stream.d/*.conf; do
    if [ -f "$rp_seen" ] && [ -r "$rp_seen" ]; then
      printf '# configuration file %s:\n' "$rp_seen"
      cat "$rp_seen"
      printf '\n'
    fi
  done
}
if has nginx; then
  dump_status=0
  dumped=$(as_root nginx -T 2>/dev/null) || dump_status=$?
  if [ "$dump_status" != 0 ]; then
    section nginx.refused
    as_root nginx -T 2>&1 >/dev/null | tail -n 3
    dumped=$(by_reading /etc/nginx/nginx.conf)
  fi
  section nginx.dump
  printf '%s\n' "$dumped" | head -c "$rp_plenty"
  files=$(printf '%s\n' "$dumped" | loaded_files)
  printf '%s\n' "$files" | tell_links
  folders=$(printf '%s\n' "$files" | while IFS= read -r file; do
    printf '%s\n' "${file%/*}"
    rp_real=$(readlink -f "$file") && printf '%s\n' "${rp_real%/*}"
  done | sort -u)
  # Where a shop mostly keeps what it does not load.
  folders="$folders
/etc/nginx/sites-available"
  printf '%s\n' "$folders" | sort -u | {
    while IFS= read -r folder; do
      case $folder in '' | /etc/nginx/modules-* | /usr/share/*) continue ;; esac
      for file in "$folder"/*; do tell_beside "$file"; done
    done
  }
  section nginx.runs
  for process in /proc/[0-9]*; do
    name=
    { IFS= read -r name <"$process/comm"; } 2>/dev/null
    # Those of containers are here, too; whose they are is told by their cgroups.
    [ "$name" != nginx ] || joined "${process#/proc/}" "$(one_line 2>/dev/null <"$process/cgroup")"
  done
fi

question="SELECT datname, pg_get_userbyid(datdba), pg_database_size(oid) FROM pg_database WHERE NOT datistemplate AND datallowconn"

# --- containers ---
told_ids=' '
for engine in docker podman; do
  has "$engine" || continue
  for keeper in itself root; do
    if [ "$keeper" = root ] && [ "$rp_uid" = 0 ]; then continue; fi
    by=
    [ "$keeper" = itself ] || by=as_root
    # shellcheck disable=SC2086 # pids, and nothing or a function
    for id in $($by timeout 10 "$engine" ps -a -q --no-trunc 2>/dev/null); do
      case $told_ids in *" $id "*) continue ;; esac
      told_ids="$told_ids$id "
      section container
      printf '%s\n' "$engine"
      inspected=$($by "$engine" inspect --type container -f '{{.Id}}
{{.Name}}
{{.State.Running}}
{{.Config.Image}}
{{json .Config.Labels}}
{{json .NetworkSettings.Ports}}
{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}
{{.Path}} {{range .Args}}{{.}} {{end}}' "$id" 2>/dev/null)
      printf '%s\n' "$inspected"
      # Whether it runs, of which image, and by which words.
      said=$(printf '%s\n' "$inspected" | sed -n '3p;4p;8,$p' | tr '\n' ' ')
      case $said in
        'true '*nginx*)
          section nginx.contained
          printf '%s\n' "$id"
          $by timeout 20 "$engine" exec "$id" nginx -T 2>/dev/null | head -c "$rp_plenty"
          ;;
      esac
      case $said in
        'true '*postgres* | 'true '*postgis* | 'true '*timescale*)
          section database.contained
          printf '%s\n' "$id"
          # shellcheck disable=SC2016 # run there
          $by timeout 10 "$engine" exec "$id" sh -c 'u=${POSTGRES_USER:-postgres}; echo "$u"
            psql -X -A -t -w -U "$u" -d postgres -F "$1" -c "$2"' sh "$rp_unit" \
            "$question" 2>/dev/null
          ;;
      esac
    done
  done
done

# --- who listens ---
section listeners
open=$(awk '$4 == "0A" { n = split($2, l, ":"); if (!seen[l[n]]++) printf " %s", l[n] } END { print " " }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
described=$(listeners "$open" | described)
printf '%s\n' "$described"
# tell_process PID
tell_process() {
  section process
  printf '%s\n' "$1"
  tried_as_root readlink "/proc/$1/cwd" || printf '%s\n' -
  # Words end with a unit separator.
  of_proc "$1" cmdline "$rp_unit" | tr '\n' ' '
  printf '\n'
  read_owner "$1"
  printf '%s\n' "$rp_owner"
  # Where it writes what looks like a log; of its database the name and the role, and nothing else of what it was given.
  tried_as_root ls -l "/proc/$1/fd" | sed -n 's/.* -> \(\/.*\)$/log \1/p' | grep -E '\.(log|out|err)$|/logs?/' | sort -u | head -n 8
  tried_as_root cat "/proc/$1/environ" | tr '\0' '\n' | sed -n \
    -e 's,^DATABASE_URL=postgres[a-z]*://\([^:@/]*\)[^@]*@[^/]*/\([^?]*\).*,database \2 \1,p' \
    -e 's,^\(PGDATABASE\|DB_NAME\|POSTGRES_DB\)=\(.*\),database \2 -,p' | head -n 2
}
pids=$(printf '%s\n' "$described" | sed -n "s/^[^$rp_unit]*$rp_unit\([0-9]*\).*/\1/p" | sort -u | head -n 100)
for pid in $pids; do tell_process "$pid"; done
section sockets.unix
# The path of those that listen, and the first process that has it.
as_root ss -Hxlp 2>/dev/null | awk '$5 ~ /^\// { pid = "-"; if (match($0, /pid=[0-9]+/)) pid = substr($0, RSTART + 4, RLENGTH - 4); print pid, $5 }'

# --- what could run it ---
if has systemctl; then
  section units
  {
    for file in /etc/systemd/system/*.service /usr/local/lib/systemd/system/*.service; do
      # A link to nowhere else is a unit that is masked, or another one's name.
      if [ -f "$file" ] && [ ! -L "$file" ]; then
        case $file in *@.service) ;; *) printf '%s\n' "${file##*/}" ;; esac
      fi
    done
    systemctl list-units --type=service --all --plain --no-legend --no-pager 2>/dev/null | awk '$1 ~ /@/ { print $1 }'
    printf '%s\n' "$described" | tr '|' '\n' | sed 's,.*/,,' | grep '\.service$'
  } | sort -u | head -n 300 | {
    names=
    while IFS= read -r name; do names="$names
$name"; done
    IFS='
'
    set -f
    # shellcheck disable=SC2086
    set -- $names
    set +f
    unset IFS
    [ "$#" = 0 ] || systemctl show -p Id,ActiveState,LoadState,ExecStart,StandardOutput,Environment "$@" 2>/dev/null |
      # Of what it is given nothing but numbers of ports: the rest may be secrets.
      awk '/^Environment=/ {
          rest = substr($0, 13)
          while (match(rest, /[A-Z_]*PORT=[0-9]+/)) { print "Environment=" substr(rest, RSTART, RLENGTH); rest = substr(rest, RSTART + RLENGTH) }
          next
        }
        { print }'
  }
fi
if has supervisorctl; then
  for by in '' as_root; do
    # shellcheck disable=SC2086
    said=$($by timeout 10 supervisorctl status 2>/dev/null)
    case $said in
      *RUNNING* | *STOPPED* | *EXITED* | *FATAL* | *STARTING*)
        section supervisor
        # How it is asked, as words; then what it says.
        if [ -z "$by" ] || [ "$rp_uid" = 0 ]; then joined supervisorctl; else joined sudo -n supervisorctl; fi
        printf '%s\n' "$said"
        break
        ;;
    esac
  done
fi
section runit
if [ "$rp_uid" = 0 ]; then joined sv; else joined sudo -n sv; fi
for process in /proc/[0-9]*; do
  name=
  { IFS= read -r name <"$process/comm"; } 2>/dev/null
  [ "$name" = runsv ] || continue
  folder=$(tried_as_root readlink "$process/cwd")
  # Where that is hidden, the name that it was started with: sv looks for it in /etc/service.
  [ -n "$folder" ] || folder=$(of_proc "${process#/proc/}" cmdline "$rp_unit" | cut -d "$rp_unit" -f 2)
  joined "${process#/proc/}" "$(printf '%s' "$folder" | one_line)"
done

# --- the database ---
# databases WORD…: by psql, behind the words that make us somebody else.
databases() { cd / && timeout 10 "$@" psql -X -A -t -w -U postgres -d postgres -F "$rp_unit" -c "$question" 2>/dev/null; }
if has psql; then
  asked=$(databases) ||
    { [ "$rp_uid" != 0 ] && asked=$(databases sudo -n -u postgres); } ||
    { [ "$rp_uid" = 0 ] && asked=$(databases setpriv --reuid=postgres --regid=postgres --init-groups); } ||
    asked=
  if [ -n "$asked" ]; then
    section database.here
    printf '%s\n' "$asked"
  fi
fi
section dumps
# By their names alone; what is in them is asked when one is chosen. Deep enough for /opt/SERVICE/backups/daily.
for folder in /opt /srv /backup /backups /var/backups /var/lib/postgresql /data /home; do
  if [ -d "$folder" ]; then
    timeout 10 find "$folder" -xdev -maxdepth 4 -type f \
      \( -name '*.sql' -o -name '*.sql.gz' -o -name '*.dump' -o -name '*.dump.gz' -o -name '*.pgdump' -o -name '*.sql.zst' \) \
      -printf '%T@ %s %p\n' 2>/dev/null | sort -rn | head -n 200
  fi
done
return 0
