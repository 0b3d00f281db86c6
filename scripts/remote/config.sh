# All that nginx has loaded, as it says it, and the addresses of names of servers as it finds them. Only asks.
# Takes: dump lookup...
# dump is the words of nginx's test that also print it. Section nginx.known: a line NAME ADDRESS for each.
[ -z "$nginx_container" ] || find_container
section nginx.whole
nginx_words "$dump" 2>/dev/null | head -c "$rp_plenty"
section nginx.known
found_here() { getent ahosts "$1" 2>/dev/null | awk -v name="$1" '!seen[$1]++ { print name, $1 }'; }
if [ -n "$nginx_container" ]; then
  with_lookup look_up
  printf '%s\n' "$rp_known"
else
  with_lookup each found_here
fi
