#!/usr/bin/env bash
# Tests a new deployment: runs `clipfleet doctor --cloud`, then exports one clip from request to playable file.
#
#   deploy/smoke.sh gs://SOURCE_BUCKET/some-video.mp4
#
# Needs gcloud, logged in (gcloud auth application-default login) as an owner or operator of the project, and the
# `clipfleet` program (cargo build --release --bin clipfleet, or CLIPFLEET=PROGRAM). The video must be at least 10 s
# long.
#
# Read from Terraform's outputs unless set: CLIPFLEET_SERVER (the dispatcher), GOOGLE_CLOUD_PROJECT,
# CLIPFLEET_DEFAULT_BUCKET, CLIPFLEET_DATABASE.
# CLIPFLEET_TOKEN: read from gcloud unless set; empty for a server that needs none. If the dispatcher checks tokens
# (`audience`), set it: deploy/runbook.md, "A token is refused".
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source=${1:-}
program=${CLIPFLEET:-target/release/clipfleet}

fail() {
  echo "smoke: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

[[ $source == gs://*/* ]] ||
  fail "${source:-no video} is not an object" "deploy/smoke.sh gs://SOURCE_BUCKET/some-video.mp4"
command -v "$program" >/dev/null ||
  fail "$program does not exist" "cargo build --release --bin clipfleet, or set CLIPFLEET"
# `set -e` does not see a failure within `export NAME=$(...)`.
output() {
  local value
  value=$(terraform "-chdir=infra/$1" output -raw "$2") ||
    fail "infra/$1 has no output $2" "deploy/deploy.sh release, or set the variable"
  [[ -n $value ]] || fail "the output $2 of infra/$1 is empty" "set the variable; see the top of deploy/smoke.sh"
  echo "$value"
}
CLIPFLEET_SERVER=${CLIPFLEET_SERVER:-$(output region dispatcher_url)}
CLIPFLEET_DEFAULT_BUCKET=${CLIPFLEET_DEFAULT_BUCKET:-$(output global results_bucket)}
CLIPFLEET_DATABASE=${CLIPFLEET_DATABASE:-$(output global database)}
GOOGLE_CLOUD_PROJECT=${GOOGLE_CLOUD_PROJECT:-$(output global project)}
CLIPFLEET_TOKEN=${CLIPFLEET_TOKEN-$(gcloud auth print-identity-token)}
export CLIPFLEET_SERVER CLIPFLEET_DEFAULT_BUCKET CLIPFLEET_DATABASE GOOGLE_CLOUD_PROJECT CLIPFLEET_TOKEN
[[ -n $CLIPFLEET_TOKEN ]] || unset CLIPFLEET_TOKEN

"$program" doctor --cloud ||
  fail "the deployment is incomplete" "fix the problems that the doctor reports; each has its fix below it"

clips=$(mktemp -d)
"$program" export "$source" --clip smoke=0-10 --out "$clips" --json >"$clips/status.json" ||
  fail "the clip was not exported" "see the output above, $clips/status.json and deploy/runbook.md"
file=$(find "$clips" -name '*.mp4' -size +10k)
[[ -n $file ]] || fail "no file was downloaded" "see clipfleet batch show, and the log of the worker"
# The encoder shows whether the GPU is used.
sed -nE 's/^ *"(encoder|fallbackReason|totalMs|encodeMs|queueMs)": (.*[^,]),?$/smoke: \1 \2/p' "$clips/status.json"
echo "smoke: exported a clip of 10 s, $(stat --format=%s "$file") bytes"
rm -r "$clips"
