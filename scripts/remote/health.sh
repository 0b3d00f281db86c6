# Asks each URL once. The pace and the count are the laptop's. Only asks.
# Arguments: get= (repeated), ports= to see who listens.
for arg in "$@"; do
  shift
  case $arg in
    sudo=*) rp_sudo=${arg#*=} ;;
    get=*) set -- "$@" "${arg#*=}" ;;
    ports=*)
      section listeners
      listeners "${arg#*=}" | described
      ;;
  esac
done
fetch_all "$@" | head -c "$rp_plenty"
