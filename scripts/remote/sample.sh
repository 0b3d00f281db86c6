# One look at what still reaches green: sockets with its ports on either end, and workers that shut down.
# Takes: ports pidfile unix...
# unix are paths of sockets. Only asks.
paths=''
add_path() { paths="$paths $1 "; }
with_unix each add_path
[ -z "$nginx_container" ] || find_container
section sockets
connections "$ports"
if [ -n "$paths" ]; then
  section unix
  awk -v paths="$paths" '$6 == "03" && index(paths, " " $8 " ") { print $8 }' /proc/net/unix 2>/dev/null
fi
[ -z "$pidfile$nginx_container" ] || tell_nginx "$pidfile"
