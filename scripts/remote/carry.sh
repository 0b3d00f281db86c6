# Shared by the scripts to which a program of ours (src/carried) may come, packed, on 3.

# carry BYTES: takes it from the line and leaves in rp_agent where it runs, or nothing.
carry() {
  rp_agent='' rp_from=''
  [ "${1:-0}" -gt 0 ] || return 0
  for rp_base in /dev/shm /tmp /var/tmp "$HOME"; do
    rp_folder=$(mktemp -d "$rp_base/rollback-prod-XXXXXX" 2>/dev/null) || continue
    if [ -z "$rp_from" ]; then
      head -c "$1" <&3 | gzip -dc >"$rp_folder/rollback-prod" 2>/dev/null
    else
      # A folder that lets nothing run, like many a /dev/shm and /tmp.
      mv "$rp_from/rollback-prod" "$rp_folder/rollback-prod"
      rmdir "$rp_from"
    fi
    chmod 700 "$rp_folder/rollback-prod"
    if "$rp_folder/rollback-prod" --version >/dev/null 2>&1; then
      rp_agent=$rp_folder/rollback-prod
      return 0
    fi
    rp_from=$rp_folder
  done
  [ -z "$rp_from" ] || rm -rf "$rp_from"
}

# put_down: removes it.
put_down() { [ -z "$rp_agent" ] || rm -rf "${rp_agent%/*}"; }

# run_lines WORDS: runs the command that WORDS holds, a word a line.
run_lines() {
  rp_lines=$1
  IFS='
'
  set -f
  # shellcheck disable=SC2086
  set -- $rp_lines
  set +f
  unset IFS
  "$@"
}
