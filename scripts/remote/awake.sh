# Starts the database's container where it does not run, and waits until its server answers.
# Takes: limit=60
# limit is in seconds. Exit: 0 it answers; 1 with what was said.
section awake
docker start "$container" 2>&1 || return 1
way=container
until=$(($(date +%s) + limit))
while :; do
  # A server that is still recovering, or making its cluster, says so here.
  if said=$(printf 'SELECT 1;\n' | sql postgres 2>&1); then return 0; fi
  [ "$(date +%s)" -lt "$until" ] || break
  pause 0.2
done
printf '%s' "$said"
return 1
