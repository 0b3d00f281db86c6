# Shared by the scripts that read dumps; sent behind psql.sh and carry.sh. The program that may come reads and loads them faster
# than a shell can. Where it cannot run, the shell does the same.

# read_kind FILE: plain, custom, directory, tar or unknown into $rp_kind, and what it is packed with (gzip, zstd, xz, bzip2 or
# nothing) into $rp_packer, by their first bytes. Fails where the host has not what it is packed with.
read_kind() {
  rp_kind=plain rp_packer=
  if [ -d "$1" ] || as_root test -d "$1" 2>/dev/null; then
    if [ -e "$1/toc.dat" ] || as_root test -e "$1/toc.dat" 2>/dev/null; then rp_kind=directory; else rp_kind=unknown; fi
    return 0
  fi
  rp_head=$(read_whole "$1" 2>/dev/null | head_of)
  case $rp_head in
    1f8b*) rp_packer=gzip ;;
    28b52ffd*) rp_packer=zstd ;;
    fd377a585a00*) rp_packer=xz ;;
    425a68*) rp_packer=bzip2 ;;
  esac
  if [ -n "$rp_packer" ]; then
    has "$rp_packer" || return 1
    rp_head=$(read_whole "$1" 2>/dev/null | "$rp_packer" -dc 2>/dev/null | head_of)
  fi
  # A dump in pg_dump's own form, and an archive of tar: its sign stands in byte 257.
  case $rp_head in
    5047444d50*) rp_kind=custom ;;
    *7573746172) rp_kind=tar ;;
  esac
}
# head_of: the first bytes of what comes in, in hex, to the end of the sign of tar.
head_of() { head -c 262 | od -An -v -tx1 | tr -d ' \n'; }

# place FILE: puts a file or folder into the container and leaves its path there in rp_placed.
place() {
  rp_placed=/tmp/rollback-prod-$rp_nonce
  # Not one that is there already: its name is seen by whoever lists processes, and /tmp is everybody's.
  docker exec -i "$container" mkdir -m 700 "$rp_placed" || return 1
  as_owner "$1" tar -C "${1%/*}" -cf - "${1##*/}" | docker exec -i "$container" tar -C "$rp_placed" -xf - || return 1
  rp_placed=$rp_placed/${1##*/}
}
# take_away: removes it again.
take_away() { [ -z "${rp_placed:-}" ] || docker exec -i "$container" rm -rf "/tmp/rollback-prod-$rp_nonce"; }

# as_owner FILE COMMAND…: as us where we may read the file, as root where only that may.
as_owner() {
  if [ -r "$1" ]; then
    shift
    "$@"
  else
    shift
    as_root "$@"
  fi
}

# On one line, for it is a word among words that stand one on each line.
# shellcheck disable=SC2016 # run by a shell of its own
rp_through='file=$1 packer=$2 text=$3; set -- cat "$file"; [ -r "$file" ] || set -- sudo -n "$@"; if [ -n "$text" ]; then "$@" | "$packer" -dc | $text; else "$@" | "$packer" -dc; fi'
# reader_words FILE: the command whose output is the text of the dump that read_kind has looked at, a word a line; packed
# where it is packed with gzip, which whoever reads it understands. What is no text is made one by the server's own
# pg_restore.
reader_words() {
  rp_text=
  case $rp_kind in custom | directory | tar) rp_text='pg_restore -f -' ;; esac
  if [ -n "$rp_text" ] && [ -n "${rp_placed:-}" ]; then
    printf '%s\n' docker exec -i "$container" pg_restore -f - "$rp_placed"
    return 0
  fi
  case $rp_packer,$rp_text in
    ,* | gzip,)
      if [ ! -r "$1" ] && [ "$rp_uid" != 0 ] && [ "$sudo" = yes ]; then printf '%s\n' sudo -n; fi
      if [ -n "$rp_text" ]; then printf '%s\n' pg_restore -f - "$1"; else printf '%s\n' cat "$1"; fi
      ;;
    *)
      if [ -n "$rp_text" ] && ! has pg_restore; then rp_text="docker exec -i $container pg_restore -f -"; fi
      printf '%s\n' sh -c "$rp_through" sh "$1" "$rp_packer" "$rp_text"
      ;;
  esac
}

# is_text_packed: whether what those words give is packed with gzip still.
is_text_packed() { [ "$rp_kind,$rp_packer" = plain,gzip ]; }

# dump_text FILE: the text, unpacked. A line at its end that no dump has says that it could not be read whole.
dump_text() {
  rp_reader=$(reader_words "$1")
  if is_text_packed; then
    run_lines "$rp_reader" | gzip -dc
  else
    run_lines "$rp_reader"
  fi || printf '\n\\rollback-prod could not read it to its end\n'
}

# scan_text AWK-OPTIONS…: reads a dump's text and writes what it holds to the file `report`, as that program's `scan` prints it.
# With pass=1 the text goes on, without psql's own commands; a dump that is not whole ends in an error, so that the
# transaction it is loaded in leaves nothing.
scan_text() {
  awk "$@" '
    function say(text) { print text >report }
    function offends(text) {
      if (text ~ /^\\rollback-prod could not/) { say("error " (packed == "gzip" ? "the gzip file is cut off or damaged" : "it cannot be read to its end")); fail("the dump cannot be read to its end"); return }
      if (offences++ < 5) say("offence " NR " " substr(text, 1, 120))
      fail("line " NR " of the dump says " substr(text, 1, 80))
    }
    function fail(why) {
      if (!pass) return
      if (copying) print "\\."
      gsub(/[\047$\\%]/, "", why)
      print "DO $rollback_prod$ BEGIN RAISE EXCEPTION \047" why "\047; END $rollback_prod$;"
      pass = 0
    }
    # Whether the line leaves a dollar quote or a string open.
    function quotes(rest,    at, tag) {
      while (rest != "") {
        if (tagged != "") {
          at = index(rest, tagged)
          if (!at) return
          rest = substr(rest, at + length(tagged))
          tagged = ""
        } else if (string) {
          at = index(rest, "\047")
          if (!at) return
          rest = substr(rest, at + 1)
          string = 0
        } else if (match(rest, /\047|"|--|\$[A-Za-z_]*[A-Za-z_0-9]*\$/)) {
          tag = substr(rest, RSTART, RLENGTH)
          rest = substr(rest, RSTART + RLENGTH)
          if (tag == "--") return
          if (tag == "\"") {
            at = index(rest, "\"")
            if (!at) return
            rest = substr(rest, at + 1)
          } else if (tag == "\047") string = 1
          else tagged = tag
        } else return
      }
    }
    BEGIN { say("packed " packed) }
    { bytes += length($0) + 1 }
    copying {
      if ($0 == "\\." || $0 == "\\.\r") {
        copying = 0
        say("rows " rows " " table)
      } else rows++
      if (pass) print
      next
    }
    tagged == "" && !string {
      if (/^--/) {
        if (/^-- Dumped by pg_dump version /) say("by " substr($0, 30))
        else if (/^-- Dumped from database version /) say("from " substr($0, 33))
        else if ($0 == "-- PostgreSQL database dump complete") complete = 1
        else if (/^-- (Data for )?Name: .*; Type: /) {
          sub(/^.*; Type: /, "")
          owner = ""
          if (/; Owner: /) {
            owner = $0
            sub(/^.*; Owner: /, "", owner)
          }
          if (owner != "" && owner != "-") owned = 1
          sub(/;.*/, "")
          items[$0]++
        }
        else if (/^-- PostgreSQL database cluster dump/) {
          say("cluster yes")
          fail("it is a dump of a whole server")
        }
        next
      }
      if (/^\\/) {
        if (/^\\restrict/) say("restrict yes")
        else if (!/^\\unrestrict/) {
          complete = 0
          offends($0)
        }
        next
      }
      if (/^[ \t\r]*$/) next
      complete = 0
      upper = toupper(substr($0, 1, 60))
      if (upper ~ /^(CREATE|DROP|ALTER) (DATABASE|ROLE|TABLESPACE|SYSTEM) /) offends($0)
      if (upper ~ /^COMMENT ON DATABASE /) next
      if (upper ~ /^COPY / && toupper($0) ~ / FROM STDIN;\r?$/) {
        table = substr($0, 6)
        if (match(table, /^("([^"]|"")*"|[^ ".(]+)(\.("([^"]|"")*"|[^ ".(]+))?/)) table = substr(table, 1, RLENGTH)
        copying = 1
        rows = 0
        if (pass) print
        next
      }
      if (/^SET client_encoding = /) {
        split($0, part, "\047")
        say("encoding " part[2])
      }
      if (/^SET transaction_timeout/) say("transaction_timeout yes")
      if (upper ~ /^INSERT /) inserts++
    }
    {
      if (pass) print
      quotes($0)
      if (tagged == "" && !string && /;[ \t\r]*$/) statements++
    }
    END {
      say("statements " statements + 0)
      say("inserts " inserts + 0)
      for (kind in items) say("item " items[kind] " " kind)
      if (owned) say("owners yes")
      say("bytes " bytes + 0)
      if (copying) say("inside COPY " table)
      else if (tagged != "" || string) {
        say("inside a statement")
        complete = 0
      }
      if (complete && !copying) say("complete yes")
      else if (pass) fail(copying ? "the dump is cut off inside COPY " table : "the dump is cut off: its last line is missing")
    }'
}
