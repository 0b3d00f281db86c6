# Switches this balancer, proves it, or puts the old file back: one step that either happened or did not, whoever
# dies meanwhile. Safe to run twice: a file that already says what it should is only reloaded and proven.
# Takes: root_shell=no service run holder number
# root_shell=yes: sudo allows one.
# Sections: steps (what was done), test, reload, access (sizes of the logs), why, put_back. Exit:
#   0 who serves, proven; 10 the file was changed by somebody else; 11 nginx is not running here;
#   12 the new file could not be written beside the old one (10 to 12: nothing was changed)
#   20 nginx refuses the file; 21 the reload failed; 22 not proven in time (20 to 22: the old file is back)
#   30 the old file could not be put back; 91 the job was killed; 93 the lock is another run's by now (section why):
#   nothing was changed

# in_root_shell: the same in one root shell instead of a sudo for each command. What it ends with is told from a refusal
# of sudo by a hundred.
in_root_shell() {
  rp_status=0
  # $p is this very program, see bootstrap in ssh.rs.
  # shellcheck disable=SC2154
  printf 'rp_inner=yes\n%s\n' "$p" | sudo -n sh -c 'eval "$(cat)"' || rp_status=$?
  if [ "$rp_status" -ge 100 ]; then return $((rp_status - 100)); fi
  switch
}

if [ -n "${rp_inner-}" ]; then
  switch
  return $(($? + 100))
fi
if fenced "$group" "$holder" "$number"; then return 93; fi
how=switch
if [ "$root_shell" = yes ] && [ "$rp_uid" != 0 ]; then how=in_root_shell; fi
detached "$service" "$run.switch" "$how"
