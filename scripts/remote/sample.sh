# One look at what still reaches green: sockets with its ports on either end, and workers that shut down.
# Arguments: ports=" 1F91 " pidfile= unix= (repeated: paths of unix sockets). Only asks.
ports='' pidfile='' paths=''
for arg in "$@"; do
  case $arg in
    ports=*) ports=${arg#*=} ;;
    pidfile=*) pidfile=${arg#*=} ;;
    unix=*) paths="$paths ${arg#*=} " ;;
  esac
done
section sockets
connections "$ports"
if [ -n "$paths" ]; then
  section unix
  awk -v paths="$paths" '$6 == "03" && index(paths, " " $8 " ") { print $8 }' /proc/net/unix 2>/dev/null
fi
if [ -n "$pidfile" ]; then
  master=$(nginx_master "$pidfile")
  section nginx.master
  printf '%s' "$master"
  section nginx.workers
  [ -z "$master" ] || nginx_workers "$master"
fi
