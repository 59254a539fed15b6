#!/usr/bin/env bash
# Tries a fresh deployment: what `clipfleet doctor --cloud` says of it, then one clip from request to playable file.
#
#   deploy/smoke.sh gs://SOURCE_BUCKET/some-video.mp4
#
# Needed: gcloud, logged in (gcloud auth application-default login) as an owner or operator of the project, and the `clipfleet` program
# (cargo build --release --bin clipfleet, or CLIPFLEET=PROGRAM). The video has to be 10 s long or longer.
#
# From Terraform's outputs, unless set: CLIPFLEET_SERVER (the dispatcher), GOOGLE_CLOUD_PROJECT, CLIPFLEET_DEFAULT_BUCKET.
# CLIPFLEET_TOKEN: from gcloud, unless set; empty for a server that wants none.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source=${1:-}
program=${CLIPFLEET:-target/release/clipfleet}

fail() {
  echo "smoke: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

[[ $source == gs://*/* ]] || fail "${source:-no video} is no object" "deploy/smoke.sh gs://SOURCE_BUCKET/some-video.mp4"
command -v "$program" >/dev/null || fail "there is no $program" "cargo build --release --bin clipfleet, or set CLIPFLEET"
output() { terraform -chdir=infra output -raw "$1"; }
export CLIPFLEET_SERVER=${CLIPFLEET_SERVER:-$(output dispatcher_url)}
export CLIPFLEET_DEFAULT_BUCKET=${CLIPFLEET_DEFAULT_BUCKET:-$(output results_bucket)}
export GOOGLE_CLOUD_PROJECT=${GOOGLE_CLOUD_PROJECT:-$(output project)}
export CLIPFLEET_TOKEN=${CLIPFLEET_TOKEN-$(gcloud auth print-identity-token)}
[[ -n $CLIPFLEET_TOKEN ]] || unset CLIPFLEET_TOKEN

"$program" doctor --cloud || fail "the deployment lacks something" "mend what the doctor calls BROKEN, each with its remedy above"

clips=$(mktemp -d)
"$program" export "$source" --clip smoke=0-10 --out "$clips" --json >"$clips/status.json" ||
  fail "the clip was not made" "see what the program said above, $clips/status.json and deploy/runbook.md"
file=$(find "$clips" -name '*.mp4' -size +10k)
[[ -n $file ]] || fail "no file came back" "look at the batch: clipfleet batch show, and the worker's log"
# Which encoder made it tells whether the GPU is used.
sed -nE 's/^ *"(encoder|fallbackReason|totalMs|encodeMs|queueMs)": (.*[^,]),?$/smoke: \1 \2/p' "$clips/status.json"
echo "smoke: a clip of 10 s came back, $(stat --format=%s "$file") bytes"
rm -r "$clips"
