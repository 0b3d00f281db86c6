#!/bin/sh
# The runbook's own command: finds rollback-prod, or builds it, and passes everything on.
#   scripts/rollback-prod.sh --reason "high error rate"
# Takes, in this order: $ROLLBACK_PROD, the one built from this checkout, the one on PATH, one built now.
set -eu
if [ -n "${ROLLBACK_PROD:-}" ]; then
  exec "$ROLLBACK_PROD" "$@"
fi

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
# A copy of this file alone, as in /usr/local/bin, has no checkout around it.
built=$("$here/scripts/target-dir" 2>/dev/null || printf '%s/target' "$here")/release/rollback-prod
if [ -x "$built" ]; then
  exec "$built" "$@"
elif command -v rollback-prod >/dev/null 2>&1; then
  exec rollback-prod "$@"
elif command -v cargo >/dev/null 2>&1 && [ -f "$here/Cargo.toml" ]; then
  echo 'rollback-prod.sh: building rollback-prod first (about a minute)' >&2
  # From the checkout: cargo's configs are those of the folder that it is started in.
  (cd "$here" && cargo build --quiet --release --bin rollback-prod) >&2 || {
    echo 'rollback-prod.sh: it cannot be built; nothing was changed' >&2
    exit 2
  }
  exec "$built" "$@"
fi
echo 'rollback-prod.sh: no rollback-prod here, none on PATH, and no cargo to build it; nothing was changed' >&2
exit 2
