# The host as it is while green still runs: for the postmortem. Bounded, polite, only asks.
# Takes: pid...
# Those are green's processes.
polite() { if has nice; then nice "$@"; else "$@"; fi 2>&1; }
printf '== date\n'
date -u
printf '== uptime\n'
cat /proc/loadavg
printf '== processes\n'
if has ps; then polite ps -eo pid,ppid,user,pcpu,pmem,rss,nlwp,stat,etime,args --sort=-pcpu 2>/dev/null | head -n 200 || polite ps | head -n 200; fi
printf '== sockets\n'
if has ss; then polite ss -tanp | head -n 2000; else head -n 2000 /proc/net/tcp; fi
printf '== disk\n'
polite df -h
printf '== memory\n'
if has free; then polite free -m; else head -n 20 /proc/meminfo; fi
printf '== kernel\n'
if has dmesg; then polite dmesg | tail -n 200; fi
process() {
  printf '== green, pid %s\n' "$1"
  cat "/proc/$1/status" "/proc/$1/limits" 2>/dev/null
  # shellcheck disable=SC2012
  printf 'open files: %s\n' "$(ls "/proc/$1/fd" 2>/dev/null | wc -l)"
}
with_pid each process
