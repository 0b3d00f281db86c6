# All that nginx has loaded, as it says it. Only asks.
# Takes: dump
# dump is the words of nginx's test that also print it.
[ -z "$nginx_container" ] || find_container
section nginx.whole
nginx_words "$dump" 2>/dev/null | head -c "$rp_plenty"
