# What a folder says of the release in it; sent behind lib.sh.
# bytes_of FILE: its first ones, if it is a file. What an application may make of it must not hold us up.
bytes_of() { [ ! -f "$1" ] || timeout 1 head -c 512 "$1" 2>/dev/null; }
# commit_in FOLDER: what a deploy wrote down, or what git has there.
commit_in() {
  if [ -f "$1/REVISION" ]; then
    word_in "$1/REVISION"
  elif [ -f "$1/.git/HEAD" ]; then
    rp_head=$(bytes_of "$1/.git/HEAD")
    case $rp_head in
      'ref: '*)
        rp_ref=${rp_head#'ref: '}
        if [ -f "$1/.git/$rp_ref" ]; then
          word_in "$1/.git/$rp_ref"
        else
          # shellcheck disable=SC2016
          ref=$rp_ref timeout 1 awk '$2 == ENVIRON["ref"] { print $1; exit }' "$1/.git/packed-refs" 2>/dev/null
        fi
        ;;
      *) word_in "$1/.git/HEAD" ;;
    esac
  fi
}
# word_in FILE: its first word.
word_in() {
  # shellcheck disable=SC2046
  (set -f && set -- $(bytes_of "$1") && printf '%s' "${1-}")
}
