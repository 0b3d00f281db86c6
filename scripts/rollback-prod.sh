#!/bin/sh
# The runbook's own command: finds rollback-prod, or builds it, and passes everything on.
#   scripts/rollback-prod.sh --reason "high error rate"
# Takes, in this order: $ROLLBACK_PROD, the one built beside this script, the one on PATH, one built now.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
built=$here/target/release/rollback-prod

if [ -n "${ROLLBACK_PROD:-}" ]; then
  exec "$ROLLBACK_PROD" "$@"
elif [ -x "$built" ]; then
  exec "$built" "$@"
elif command -v rollback-prod >/dev/null 2>&1; then
  exec rollback-prod "$@"
elif command -v cargo >/dev/null 2>&1 && [ -f "$here/Cargo.toml" ]; then
  echo 'rollback-prod.sh: building rollback-prod first (about a minute)' >&2
  cargo build --quiet --release --manifest-path "$here/Cargo.toml" --bin rollback-prod >&2 || {
    echo 'rollback-prod.sh: it cannot be built; nothing was changed' >&2
    exit 2
  }
  exec "$built" "$@"
fi
echo 'rollback-prod.sh: no rollback-prod here, none on PATH, and no cargo to build it; nothing was changed' >&2
exit 2
