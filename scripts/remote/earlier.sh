# What a colour could be put back to on this host. Only asks.
# Takes: kind put into folder link name variable wanted=-
# kind is how they are kept: files (put beside into), folders (in folder, and link says which), images (of that name; a
# variable of the file into), packages (of that name). An image that is not here is asked for at its registry by its tag.
# Sections: now (what it is put to), before (what it was, where a rollback has put it to that), trouble (why that cannot be told), release (one each, the latest first where the host knows
#   an order: NAME, the seconds of its making, another name, words about it, no where it cannot be had again; a line each).

# tell_one NAME SECONDS ALSO ABOUT CAN-BE-HAD
tell_one() {
  section release
  printf '%s\n' "$@"
}
# read_kept FILE: where only another account may read it, by whoever could have put it there.
read_kept() {
  put=$1
  read_put
}
digest_of() {
  rp_sum=$(read_kept "$1" 2>/dev/null | sha256sum)
  printf 'sha256:%.12s' "$rp_sum"
}
# is_young FILE: of this hour: a run that was cut short may be of it; one of long ago is over, and what it replaced is history.
is_young() { rp_changed=$(stat -c %Z "$1" 2>/dev/null) && [ "$(($(date +%s) - rp_changed))" -lt 3600 ]; }
# Whether it is a file is known before it is opened.
is_file() { [ -n "$(read_size "$1" && printf '%s' "$rp_size")" ]; }
kept_files() {
  if ! is_file "$into"; then
    section trouble
    printf 'there is no %s' "$into"
    return
  fi
  section now
  digest_of "$into"
  tell_one "$(digest_of "$into")" "$(stat -L -c %Y "$into" 2>/dev/null)" "${into##*/}" '' yes
  is_file "$put" || return 0
  tell_one "$(digest_of "$put")" "$(stat -L -c %Y "$put" 2>/dev/null)" "${put##*/}" '' yes
}
kept_folders() {
  if [ ! -L "$link" ]; then
    section trouble
    if [ -e "$link" ]; then printf '%s is no link' "$link"; else printf 'there is no %s' "$link"; fi
    return
  fi
  # What it says may be anything; who reads it wants to know whether that is one of these.
  if [ "$(readlink -f "$link")" != "$(readlink -f "$folder/$(readlink "$link" | sed 's,.*/,,')")" ]; then
    section trouble
    printf '%s does not lead to a folder in %s, but to %s' "$link" "$folder" "$(readlink "$link")"
    return
  fi
  section now
  readlink "$link"
  section before
  rp_kept=${link%/*}/.${link##*/}.before-rollback
  ! is_young "$rp_kept" || readlink "$rp_kept"
  for rp_folder in "$folder"/*/; do
    rp_folder=${rp_folder%/}
    if [ ! -d "$rp_folder" ] || [ -L "$rp_folder" ]; then continue; fi
    case ${rp_folder##*/} in *"
"*) continue ;; esac
    tell_one "${rp_folder##*/}" "$(stat -c %Y "$rp_folder")" "$(commit_in "$rp_folder")" '' yes
  done
}
# value_in FILE: of that variable, and nothing else of a file of secrets.
value_in() {
  read_kept "$1" 2>/dev/null | variable=$variable awk '
    { line = $0; sub(/^[ \t]*(export[ \t]+)?/, "", line) }
    index(line, ENVIRON["variable"] "=") == 1 { value = substr(line, length(ENVIRON["variable"]) + 2) }
    END { gsub(/^["\047]|["\047]$/, "", value); printf "%s", value }'
}
kept_images() {
  section now
  value_in "$into"
  section before
  rp_kept=${into%/*}/.${into##*/}.before-rollback
  ! is_young "$rp_kept" || value_in "$rp_kept"
  ask images docker image ls --format '{{.Tag}} {{.ID}} {{.CreatedAt}}' "$name"
  if [ "$wanted" != - ] && ! docker image inspect "$name:$wanted" >/dev/null 2>&1 &&
    timeout 20 docker manifest inspect "$name:$wanted" >/dev/null 2>&1; then
    tell_one "$wanted" '' '' 'at its registry' yes
  fi
}
kept_packages() {
  section now
  dpkg-query -W -f='${Version}' "$name" 2>/dev/null
  ask versions apt-cache madison "$name"
}
case $kind in
  files) kept_files ;;
  folders) kept_folders ;;
  images) kept_images ;;
  packages) kept_packages ;;
esac
