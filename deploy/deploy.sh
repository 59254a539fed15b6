#!/usr/bin/env bash
# Deploys this checkout to Google Cloud. See deploy/README.md; `deploy/deploy.sh VERB --help` lists the options.
#
#   deploy/deploy.sh init       prepares a project: APIs, the bucket of Terraform's state, and infra/global
#   deploy/deploy.sh release    builds, pushes and rolls out this commit; --canary PERCENT: on some workers first
#   deploy/deploy.sh watch      watches the canary that runs, and promotes it or rolls it back
#   deploy/deploy.sh promote    all workers run the newest release, and the services follow
#   deploy/deploy.sh rollback   services and workers run again what ran before the newest release
#   deploy/deploy.sh status     shows which versions and revisions run
#   deploy/deploy.sh apply      changes what Terraform describes; images and instance counts stay
#
# STATE_BUCKET   bucket of Terraform's state; for init, and for the first use of Terraform in a checkout
# GLOBAL_VARS    variables of infra/global; default: infra/global/my.tfvars
# REGION_VARS    variables of infra/region; default: infra/region/my.tfvars
# GOOGLE_CLOUD_PROJECT, GOOGLE_CLOUD_REGION
#                project and region, instead of those in REGION_VARS; enough for watch, promote, rollback and status
# POOLS          worker pools; default: clipfleet-worker-gpu (unless l4_quota is 0) clipfleet-worker-cpu
# APPROVE=no     Terraform applies without asking for approval
# CANARY_...     bounds of the verdict on a canary; see release --help
#
# The program is deploy/release/, in Python without further packages.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
  echo "deploy: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

command -v gcloud >/dev/null || fail "gcloud is not installed" "install the Google Cloud CLI; deploy/README.md"
command -v python3 >/dev/null || fail "python3 is not installed" "install Python 3.9 or newer; gcloud needs it, too"
PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 exec python3 -m release "$@"
