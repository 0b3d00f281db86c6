# Asks each URL once. The pace and the count are the laptop's. Only asks.
# Takes: get... ports unit container lookup...
# With ports also who listens there; with unit or container whether it has given up: sections supervisor and last_words,
# see `supervised` in lib.sh. A lookup is a name that only nginx's container may know.
[ -z "$nginx_container" ] || ! find_container || with_lookup look_up
[ -z "$unit" ] || supervised systemd "$unit"
[ -z "$container" ] || supervised docker "$container"
if [ -n "$ports" ]; then
  section listeners
  listeners "$ports" | described
fi
with_get fetch | head -c "$rp_plenty"
