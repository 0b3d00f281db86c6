# The candidate nginx file is tested without being put in place: in a mount namespace of its own, where a copy in
# memory lies over the live file. Only asks; leaves nothing behind.
# Takes: inside also...
# inside is where a container has the file, where nginx is in one; then the namespace is a copy of the container's. also are
# files that are changed with the first; TEXT is that of all then.
# candidate LIVE TEST-WORDS TEXT SOURCE: what is tested is TEXT, or the file SOURCE where there is one; a section "candidate"
# with what the test said, and its status:
#   0 nginx accepts it; 1 nginx refuses it; 75 it could not be tested here (no right to a mount namespace)

# What runs inside. It says first, with a word that nobody else says, that it has begun: what was said before is sudo's and
# unshare's, and no refusal of theirs is taken for one of nginx.
# shellcheck disable=SC2016
rp_inside='for d in /mnt /media /srv /tmp; do [ -d "$d" ] && break; done
umask 022
mount -t tmpfs -o size=64m,mode=0755 tmpfs "$d" || exit
said=$1 next=$2 n=0
shift 2
if [ "$2" = -- ]; then
  cat >"$d/1"
else
  # Only to be tested, so a last line may get an end that it has not.
  next=$next folder=$d awk "BEGIN { n = 1 } \$0 == ENVIRON[\"next\"] { n++; next } { print >(ENVIRON[\"folder\"] \"/\" n) }"
fi || exit
while [ "$1" != -- ]; do
  n=$((n + 1))
  mount --bind "$d/$n" "$1" || exit
  shift
done
shift
echo "$said" && exec "$@"'

candidate() {
  rp_mounted=mounted-$rp_nonce
  section candidate
  rp_status=0
  rp_text=$3 rp_source=$4
  if [ -n "$nginx_container" ] && find_container && mounted_from "$rp_source"; then rp_source=$rp_place; fi
  if [ -n "$rp_source" ]; then
    # Nothing in its place would be a file that says nothing, and nginx may well accept that.
    rp_text=$(read_whole "$rp_source" 2>/dev/null && printf x) || {
      printf '%s cannot be read' "$rp_source"
      section candidate.status
      printf 75
      return 0
    }
    rp_text=${rp_text%x}
  fi
  rp_said=$(printf '%s' "$rp_text" | with_also in_namespace "$2" "$1" 2>&1) || rp_status=$?
  case $rp_said in
    *"$rp_mounted"*)
      if [ "$rp_status" != 0 ]; then
        # A test that refuses the file that serves now, too, says something about the namespace, not the candidate.
        if with_also tell_all "$1" | with_also in_namespace "$2" "$1" >/dev/null 2>&1; then rp_status=1; else rp_status=75; fi
      fi
      printf '%s' "${rp_said#*"$rp_mounted"}"
      ;;
    *)
      rp_status=75
      printf '%s' "$rp_said"
      ;;
  esac
  section candidate.status
  printf '%s' "$rp_status"
}

# in_namespace TEST-WORDS FILE…: tests what it reads with it in the place of the files.
in_namespace() {
  rp_test=$1
  shift
  [ -z "$nginx_container" ] || set -- "$inside"
  set -- "$rp_mounted" "$rp_between" "$@" --
  IFS=$rp_unit
  set -f
  # shellcheck disable=SC2086
  set -- "$@" $rp_test
  set +f
  unset IFS
  if [ -n "$nginx_container" ]; then
    # What runs there are the container's own programs: with no more rights than a user's own containers have, and never as
    # the root of this host, whom they could be made to obey.
    if [ "$rp_uid" = 0 ] || [ "$rp_keeper,$rp_engine" != itself,podman ]; then
      printf 'in a container of root a file is tested once it is in its place'
      return 1
    fi
    nsenter -t "$rp_first" -U --preserve-credentials -m -n -p unshare -m \
      sh -c "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:\$PATH; $rp_inside" rollback-prod "$@"
    return
  fi
  # A user without root makes the namespace as himself, so that nginx sees the user it always sees.
  if [ "$rp_uid" != 0 ] && [ "$sudo" = no ]; then rp_map='--map-current-user --keep-caps'; else rp_map=; fi
  # shellcheck disable=SC2086
  as_root unshare $rp_map -m --propagation private sh -c "$rp_inside" rollback-prod "$@"
}
