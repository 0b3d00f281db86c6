#!/bin/sh
# The runbook's drill on staging: rollback-prod.sh with --env staging.
#   scripts/rollback-staging.sh --dry-run
set -eu
exec "$(dirname -- "$0")/rollback-prod.sh" --env staging "$@"
