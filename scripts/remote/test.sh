# The dry run's half of prepare.sh: tests the candidate, takes nothing.
# Arguments: sudo= live= test= text=
live='' test='' text=''
for arg in "$@"; do
  case $arg in
    sudo=*) rp_sudo=${arg#*=} ;;
    live=*) live=${arg#*=} ;;
    test=*) test=${arg#*=} ;;
    text=*) text=${arg#*=} ;;
  esac
done
candidate "$live" "$test" "$text"
