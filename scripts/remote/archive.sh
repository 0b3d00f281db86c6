# The newest part of a log, compressed on the host at low priority, to standard output. When the file is younger
# than its rotation and smaller than the limit, the end of the rotated one comes first. Constant memory.
# Arguments: sudo= max= (bytes) and file=, or, for a log that docker keeps, container=, or compose= and its file= and
#   project=
# Exit: 0; 50 no such file; 51 not readable
file='' container='' compose='' project=- max=0
for arg in "$@"; do
  case $arg in
    sudo=*) rp_sudo=${arg#*=} ;;
    file=*) file=${arg#*=} ;;
    container=*) container=${arg#*=} ;;
    compose=*) compose=${arg#*=} ;;
    project=*) project=${arg#*=} ;;
    max=*) max=${arg#*=} ;;
  esac
done
compress() { if has nice; then nice gzip -1 -c; else gzip -1 -c; fi; }
if [ -n "$compose" ]; then
  container=$(container_of "$file" "$project" "$compose")
  [ -n "$container" ] || return 50
fi
if [ -n "$container" ]; then
  docker inspect --type container "$container" >/dev/null 2>&1 || return 50
  docker logs --timestamps "$container" 2>&1 | tail -c "$max" | compress
  return 0
fi
# The folder may be root's alone: then root says whether the file is there.
if [ ! -e "$file" ] && ! as_root test -e "$file" 2>/dev/null; then return 50; fi
if [ ! -r "$file" ] && ! as_root tail -c 1 "$file" >/dev/null 2>&1; then return 51; fi
size=$(size_of "$file")
size=${size:-$max}
older=$((max - size))
# A log that grows while it is read must not grow past its limit: no more than the size that was seen.
if [ "$older" -gt 0 ]; then
  {
    [ ! -e "$file.1" ] || tail_of "$older" "$file.1"
    tail_of +1 "$file" | head -c "$size"
  } | compress
else
  tail_of "$max" "$file" | head -c "$max" | compress
fi
