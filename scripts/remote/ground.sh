# Whether a colour that is down could be started, without starting it: what its start needs and does not find. Shared part
# of facts.sh. Only what is certain is said, a line each: WORD VALUE; see `Lack` in hosts/facts/ground.rs.

# is_there PATH: 0 it is; 1 it is not; 2 nobody who may look does.
is_there() {
  [ ! -e "$1" ] || return 0
  rp_folder=$1
  while [ -n "$rp_folder" ] && [ ! -d "$rp_folder" ]; do rp_folder=${rp_folder%/*}; done
  [ ! -x "${rp_folder:-/}" ] || return 1
  # Root may look where we may not, unless sudo does not let us ask: the folder that is there tells which.
  as_root test -d "$rp_folder/." 2>/dev/null || return 2
  as_root test -e "$1" 2>/dev/null
}

lacks_file() {
  rp_found=0
  is_there "$2" || rp_found=$?
  [ "$rp_found" != 1 ] || printf '%s %s\n' "$1" "$2"
  [ "$rp_found" = 0 ]
}

# lacks_program PATH: it, its right to be run, or the program that its first line names.
lacks_program() {
  case $1 in /*) ;; *) return 0 ;; esac
  lacks_file program "$1" || return 0
  rp_mode=$(ls -ldL "$1" 2>/dev/null || as_root ls -ldL "$1" 2>/dev/null)
  rp_mode=${rp_mode%% *}
  case $rp_mode in
    '') return 0 ;;
    -*[xst]*) ;;
    *)
      printf 'right %s\n' "$1"
      return 0
      ;;
  esac
  [ -r "$1" ] || return 0
  case $(head -c 2 "$1" | tr -d '\0') in '#!') ;; *) return 0 ;; esac
  IFS= read -r rp_line <"$1" || :
  rp_line=${rp_line#??}
  rp_line=${rp_line#"${rp_line%%[! ]*}"}
  is_there "${rp_line%% *}" || [ $? != 1 ] || printf 'interpreter %s of %s\n' "${rp_line%% *}" "$1"
}

lacks_of_unit() {
  rp_shown=$(systemctl show -p User,DynamicUser,RootDirectory,RootImage,ExecCondition,ExecStart,ExecStartPre,WorkingDirectory,EnvironmentFiles,NeedDaemonReload \
    "$1" 2>/dev/null) || return 0
  # Its files are in another root than ours.
  case $rp_shown in *RootDirectory=/* | *RootImage=/*) return 0 ;; esac
  rp_lacks=$(printf '%s\n' "$rp_shown" | while IFS= read -r rp_property; do
    rp_value=${rp_property#*=}
    case $rp_property in
      ExecCondition=*'ignore_errors=yes'* | ExecStart*'ignore_errors=yes'*) ;;
      ExecCondition=* | ExecStart*)
        rp_value=${rp_value#*path=}
        lacks_program "${rp_value%% ;*}"
        ;;
      WorkingDirectory=/*) lacks_file folder "$rp_value" || : ;;
      EnvironmentFiles=*\**) ;;
      EnvironmentFiles=/*'(ignore_errors=no)') lacks_file file "${rp_value% (*}" || : ;;
      User=*[!0-9]*)
        case $rp_shown in
          *DynamicUser=yes*) ;;
          *) id -u "$rp_value" >/dev/null 2>&1 || printf 'user %s\n' "$rp_value" ;;
        esac
        ;;
    esac
  done)
  printf '%s\n' "$rp_lacks"
  # What else systemd itself would refuse: of this unit and of those that it requires. Warnings name a file and a line; what
  # only root may see is no error; a file that is not loaded yet says nothing about what would be started. Of commands that
  # are not there those of the start were looked at above; one for the reload or the stop keeps nothing from starting.
  case $rp_shown in *NeedDaemonReload=yes*) return 0 ;; esac
  if [ -z "$rp_lacks" ] && has systemd-analyze && has timeout; then
    timeout 5 systemd-analyze verify --man=no --generators=no --recursive-errors=one "$1" 2>&1 |
      while IFS= read -r rp_line; do
        case $rp_line in
          *'Permission denied'* | *': Command '*' is not executable: '*) ;;
          "$1: "*) printf 'systemd %s\n' "${rp_line#"$1: "}" ;;
        esac
      done
  fi
}

# Of a service that has no container yet: one that was made once needs neither its image nor the file to be right.
lacks_of_compose() {
  lacks_file file "$1" || return 0
  # An old compose takes a second for each question: one tells all.
  rp_said=$(compose_of "$1" "$2" config 2>&1) || {
    printf '%s\n' "$rp_said" | awk 'NF { last = $0 } END { print "compose " last }'
    return 0
  }
  rp_image=$(printf '%s\n' "$rp_said" | awk -v service="$3" '
    /^[a-z]/ { inside = ($1 == "services:"); next }
    inside && /^  [^ ]/ { name = $1; sub(/:$/, "", name); gsub(/["\047]/, "", name) }
    inside && name == service { found = 1 }
    inside && name == service && /^    build:/ { built = 1 }
    inside && name == service && /^    image:/ { image = $2 }
    END { print !found ? "none" : built ? "" : image }')
  if [ "$rp_image" = none ]; then
    printf 'service %s of %s\n' "$3" "$1"
    return 0
  fi
  [ -z "$rp_image" ] || docker image inspect "$rp_image" >/dev/null 2>&1 || printf 'image %s\n' "$rp_image"
}

# lacks_of KIND NAME COMPOSE-FILE PROJECT FOLDER PROGRAM EXE
lacks_of() {
  case $1 in
    systemd) lacks_of_unit "$2" ;;
    compose) lacks_of_compose "$3" "$4" "$2" ;;
    process)
      [ "$5" = - ] || lacks_file folder "$5" || :
      [ "$6" = - ] || lacks_program "$6"
      # Another program is started with it: an interpreter, which need not be allowed to run it.
      [ "$7" = "$6" ] || lacks_file program "$7" || :
      ;;
  esac
}
