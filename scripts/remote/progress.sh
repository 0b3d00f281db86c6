# How far a load is, and what became of it. Only asks.
# Takes: run
# Exit: 0; 92 there is no such load here.
find_load "$run" || return 92
# The status before the pid: a job that ends in between is seen as one that has ended.
alive=no
if [ -r "$folder/pid" ]; then
  read -r pid started <"$folder/pid"
  read_start "$pid"
  if [ "$rp_start" = "$started" ]; then alive=yes; fi
fi
section progress
cat "$folder/progress" 2>/dev/null
section alive
printf '%s' "$alive"
if [ -r "$folder/status" ]; then
  section status
  cat "$folder/status"
fi
if [ -r "$folder/status" ] || [ "$alive" = no ]; then
  section out
  tail -c 4096 "$folder/out" 2>/dev/null
  section scan
  cat "$folder/scan" 2>/dev/null
fi
