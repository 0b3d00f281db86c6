# What became of a step whose answer was lost: waits for it, repeats what it printed and its status.
# Takes: service job limit=30
# limit is in seconds. Exit: the job's; 92 there is no such job here.
folder=$(records "$service" | awk -v job="$job" -F / '$NF == job { print; exit }')
[ -n "$folder" ] || return 92
rp_until=$(($(date +%s) + limit))
while [ -d "$folder" ] && [ ! -e "$folder/status" ] && [ "$(date +%s)" -lt "$rp_until" ]; do
  rp_pid=
  [ ! -r "$folder/pid" ] || IFS= read -r rp_pid <"$folder/pid"
  if [ -n "$rp_pid" ] && ! kill -0 "$rp_pid" 2>/dev/null; then break; fi
  pause 0.05
done
# The shell that began it outlived its line, and has told its result to nobody: what is true must be read again.
[ -d "$folder" ] || return 92
job_result "$folder"
