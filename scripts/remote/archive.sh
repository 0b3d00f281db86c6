# The newest part of a log, compressed on the host at low priority, to standard output. When the file is younger
# than its rotation and smaller than the limit, the end of the rotated one comes first. Constant memory.
# Takes: max=0 file container compose project=-
# max is in bytes. Of a log that docker keeps, container, or compose with its file and project. The file may be one of nginx's
# container, as nginx.sh writes that.
# Exit: 0; 50 no such file; 51 not readable; what it is instead of a file: 53 a FIFO, 54 a device, 55 a folder, 56 a
#   socket; 57 a link out of its folder; 58 somebody else could have put it there, and may not read it himself; 59 it
#   became another while it was opened; 60 all is well but the rotated one, which is one of these
compress() { if has nice; then nice gzip -1 -c; else gzip -1 -c; fi; }
# Seconds that opening a file and looking at it may take: what is a file opens at once.
patience=5

# Whose a log is, is not whose its content must be: who may write to the log's folder may make it a link to any file, or
# another name of it, or a FIFO on which whoever opens it waits for ever, and may do so between our look and our reading.
# So what another account could have put there is read only where that account could have read it itself; and root
# reads by name only where nobody else can change what the name means.

# look_at FORMAT PATH: stat of the thing itself, never opened and never followed.
look_at() { stat -c "$1" "$2" 2>/dev/null || as_root stat -c "$1" "$2" 2>/dev/null; }

# others_of GROUP: the accounts that are in it besides root and us, as uids; `?` for what cannot be told.
others_of() {
  awk -F : -v gid="$1" -v us="$rp_uid" '
    FILENAME == "/etc/passwd" { uid[$1] = $3; if ($4 == gid) found[$3] = 1; next }
    $3 == gid { is_known = 1; n = split($4, name, ","); for (i = 1; i <= n; i++) found[name[i] in uid ? uid[name[i]] : "?"] = 1 }
    END { if (!is_known) found["?"] = 1; for (u in found) if (u != us && u != "0") print u }' /etc/passwd /etc/group 2>/dev/null ||
    printf '?\n'
}

# who_changes FOLDER: who besides root and us can put things there, into $rp_who: nobody (nothing), one uid, or `?`.
who_changes() {
  rp_who=
  rp_stat=$(look_at '%u %g %a' "$1") || {
    rp_who='?'
    return 0
  }
  rp_owner=${rp_stat%% *} rp_mode=${rp_stat##* }
  rp_group=${rp_stat#* } rp_group=${rp_group% *}
  case $rp_owner in 0 | "$rp_uid") ;; *) rp_who=$rp_owner ;; esac
  case $rp_mode in
    *[2367]) rp_who='?' ;;
    *[2367]?) [ "$rp_group" = 0 ] || for rp_other in $(others_of "$rp_group"); do also "$rp_other"; done ;;
  esac
}
# also UID: one more in $rp_who.
also() { case $rp_who in '' | "$1") rp_who=$1 ;; *) rp_who='?' ;; esac; }

# follow PATH: where it leads now, name by name, into $rp_real; who could make it lead elsewhere into $rp_by, and who
# could change the last folder into $rp_last_by. $rp_strays is `yes` where a link that somebody else could have made was
# followed to another folder, $rp_leaves where the last name did not stay in its folder.
follow() {
  rp_real='' rp_left=${1#/} rp_by='' rp_last_by='' rp_strays=no rp_leaves=no rp_links=0 rp_home=''
  while [ -n "$rp_left" ]; do
    rp_next=${rp_left%%/*}
    case $rp_left in */*) rp_left=${rp_left#*/} ;; *) rp_left= ;; esac
    case $rp_next in
      '' | .) continue ;;
      ..)
        rp_real=${rp_real%/*}
        continue
        ;;
    esac
    who_changes "${rp_real:-/}"
    rp_last_by=$rp_who
    if [ -n "$rp_who" ]; then
      case $rp_by in '' | "$rp_who") rp_by=$rp_who ;; *) rp_by='?' ;; esac
    fi
    rp_kind=$(look_at %F "$rp_real/$rp_next") || return 50
    case $rp_kind in
      'symbolic link')
        rp_links=$((rp_links + 1))
        [ "$rp_links" -le 40 ] || return 50
        rp_to=$(readlink "$rp_real/$rp_next" 2>/dev/null || as_root readlink "$rp_real/$rp_next" 2>/dev/null) || return 51
        case $rp_to in
          '') return 50 ;;
          */*) [ -z "$rp_who" ] || rp_strays=yes ;;
          *) [ -z "$rp_who" ] || [ -z "$rp_left" ] || rp_strays=yes ;;
        esac
        # What is root's alone leads where root wants it to; any other log stays in the folder that the config names.
        if [ -z "$rp_left" ] && [ -z "$rp_home" ] && { [ -n "$rp_who" ] || [ "$(look_at %u "${rp_real:-/}")" != 0 ]; }; then
          rp_home=${rp_real:-/}
        fi
        case $rp_to in /*) rp_real= ;; esac
        rp_left=$rp_to${rp_left:+/$rp_left}
        ;;
      *) rp_real=$rp_real/$rp_next ;;
    esac
  done
  if [ -n "$rp_home" ]; then
    case $rp_real in "${rp_home%/}"/*) ;; *) rp_leaves=yes ;; esac
  fi
}

# look PATH: how it may be read, into $rp_how (we, root_here, root or a uid), with $rp_real and $rp_size; or why not.
look() {
  follow "$1" || return
  case $rp_kind in
    regular*) ;;
    fifo) return 53 ;;
    *special*) return 54 ;;
    directory) return 55 ;;
    socket) return 56 ;;
    *) return 51 ;;
  esac
  [ "$rp_leaves" = no ] || return 57
  rp_stat=$(look_at '%s %h %u' "$rp_real") || return 51
  rp_size=${rp_stat%% *} rp_owner=${rp_stat##* }
  rp_names=${rp_stat#* } rp_names=${rp_names% *}
  # Whose reading it must be: his who can put things in its folder, or who made a link on the way.
  rp_whose=$rp_last_by
  if [ "$rp_strays" = yes ]; then rp_whose=$rp_by; fi
  if [ -z "$rp_whose" ] && [ -n "$rp_by" ] && [ "$rp_names" != 1 ]; then rp_whose=$rp_by; fi
  if [ -r "$rp_real" ]; then
    rp_how=we
  elif [ -z "$rp_whose" ] && cd -P "${rp_real%/*}/" 2>/dev/null && [ "$(pwd -P)" = "${rp_real%/*}" ]; then
    # From within, its folder stays the one that was looked at, whatever becomes of those above it.
    who_changes .
    [ -z "$rp_who" ] || return 58
    rp_how=root_here
  elif [ -z "$rp_whose" ] && [ -z "$rp_by" ]; then
    rp_how=root
  else
    case $rp_whose in '' | '?') return 58 ;; esac
    rp_how=$rp_whose
  fi
  # What sudo does not allow shows here, and not as a log that seems empty.
  case $rp_how in
    we) ;;
    root_here) as_root tail -c 1 "./${rp_real##*/}" ;;
    root) as_root tail -c 1 "$rp_real" ;;
    *) sudo -n -u "#$rp_how" tail -c 1 "$rp_real" ;;
  esac >/dev/null 2>&1 || return 51
}

# may_be_read: of what is open on 5, whether it is what was looked at, and is for us to read.
may_be_read() {
  [ "$(readlink /proc/self/fd/5)" = "$rp_real" ] || return 59
  rp_stat=$(stat -L -c '%u %h %a %F' /proc/self/fd/5 2>/dev/null) || return 59
  case $rp_stat in *' regular'*) ;; *) return 59 ;; esac
  [ -n "$rp_whose" ] || return 0
  case $rp_strays,$rp_stat in
    *",$rp_whose "*) ;;
    # Everybody may read it, and it has no other name, which could be one in a folder that not everybody may enter.
    no,*' 1 '*[4567]' regular'*) ;;
    *) return 58 ;;
  esac
}

# by_us BYTES LIMIT: the first LIMIT of its last BYTES. Whoever opens a FIFO is held there, so a second process ends
# this one then.
by_us() {
  # Of a subshell only the kernel tells the number; `$$` is that of the first shell.
  read -r rp_self rp_rest </proc/self/stat
  {
    sleep "$patience"
    kill -KILL "$rp_self"
  } </dev/null >/dev/null 2>&1 3<&- 4>&- 6>&- &
  rp_guard=$!
  rp_status=51
  # `command`, or a shell ends where it cannot open it, and its guard would look for it among others.
  if command exec 5<"$rp_real"; then
    rp_status=0
    may_be_read || rp_status=$?
  fi
  kill -KILL "$rp_guard"
  [ "$rp_status" = 0 ] || return "$rp_status"
  tail -c "$1" <&5 | head -c "$2"
}

# by_owner UID BYTES LIMIT: as that account, who may hold up nobody but himself.
by_owner() {
  if has timeout; then
    sudo -n -u "#$1" timeout 60 tail -c "$2" "$rp_real" | head -c "$3"
  else
    sudo -n -u "#$1" tail -c "$2" "$rp_real" | head -c "$3"
  fi
}

# bytes_of BYTES LIMIT: the same of what was looked at, by whom it is to be read.
bytes_of() {
  case $rp_how in
    we)
      rp_ended=0
      (by_us "$1" "$2") || rp_ended=$?
      case $rp_ended in 0 | 51 | 58) return "$rp_ended" ;; *) return 59 ;; esac
      ;;
    root_here) as_root tail -c "$1" "./${rp_real##*/}" | head -c "$2" ;;
    root) as_root tail -c "$1" "$rp_real" | head -c "$2" ;;
    *) by_owner "$rp_how" "$1" "$2" ;;
  esac 2>/dev/null
}

# newest: the bytes; ends with what keeps them from us.
newest() {
  # As it is now: what is written meanwhile must not take the room that the rotated one was given.
  size=$rp_size
  older=$((max - size))
  rotated=0
  if [ "$older" -gt 0 ]; then
    look "$file.1" || rotated=$?
    if [ "$rotated" = 0 ]; then bytes_of "$older" "$older" || rotated=60; fi
    case $rotated in 0 | 50) rotated=0 ;; *) rotated=60 ;; esac
    look "$file" || return
    bytes_of +1 "$size" || return
  else
    bytes_of "$max" "$max" || return
  fi
  return "$rotated"
}

if [ -n "$compose" ]; then
  container=$(container_of "$file" "$project" "$compose")
  [ -n "$container" ] || return 50
fi
if [ -n "$container" ]; then
  docker inspect --type container "$container" >/dev/null 2>&1 || return 50
  docker logs --timestamps "$container" 2>&1 | tail -c "$max" | compress
  return 0
fi
case $file in
  container:*)
    find_container || return 50
    # What it cannot give is a gap, and not an empty log.
    if [ "$file" = container: ]; then
      in_engine logs --tail 1 "$nginx_container" >/dev/null 2>&1 || return 51
      in_engine logs --timestamps "$nginx_container" 2>&1 | tail -c "$max" | compress
    else
      in_container tail -c 1 "${file#container:}" >/dev/null 2>&1 || return 51
      in_container tail -c "$max" "${file#container:}" | compress
    fi
    return 0
    ;;
esac
look "$file" || return
# The status of the reading goes beside the bytes; that of a pipe is its last program's.
{ ended=$({
  {
    newest 6>&-
    printf '%s' "$?" >&4
  } | compress >&6
} 4>&1); } 6>&1
return "${ended:-51}"
