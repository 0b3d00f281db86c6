# Asks each URL once. The pace and the count are the laptop's. Only asks.
# Arguments: get= (repeated), ports= to see who listens.
for arg in "$@"; do
  shift
  case $arg in
    sudo=*) rp_sudo=${arg#*=} ;;
    get=*) set -- "$@" "${arg#*=}" ;;
    ports=*)
      section listeners
      listeners "${arg#*=}" | while read -r port pid; do
        printf '%s %s %s %s %s\n' "$port" "$pid" "$(readlink "/proc/$pid/exe" 2>/dev/null || printf '?')" \
          "$(sed 's/^.*) //' "/proc/$pid/stat" 2>/dev/null | awk '{ print $20 }')" \
          "$(tr '\n' '|' <"/proc/$pid/cgroup" 2>/dev/null)"
      done
      ;;
  esac
done
fetch_all 3 "$@"
