#!/usr/bin/env bash
# Checks infra/ as far as that goes without a Google Cloud account: see test_infra.py. Tools go into target/infra-tools, once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$root/target/infra-tools
# Bindings with the schemas of version 7.46 of Terraform's Google provider; see schema.py.
bindings=cdktn-provider-google==20.3.1

fail() {
  echo "infra/ was not checked: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

command -v python3 >/dev/null || fail "there is no python3" "install python3 and python3-venv (deploy/setup.sh does)"
program=${CLIPFLEET:-$root/target/debug/clipfleet}
[[ -x $program ]] || fail "there is no $program" "build it: cargo build --bin clipfleet --bin clipfleet-pipeline, or set CLIPFLEET"

wanted=$( (echo promtool && python3 --version && cat "$here/requirements.txt" "$here/checkov.txt" && echo "$bindings") | sha256sum | cut -d' ' -f1)
if [[ ! -f $tools/stamp || $(<"$tools/stamp") != "$wanted" ]]; then
  echo "installing Terraform, validators and the provider's schemas into target/infra-tools"
  rm -rf "$tools"
  mkdir -p "$tools"
  for list in requirements checkov; do
    python3 -m venv "$tools/$list" || fail "python3 cannot make an environment" "install python3-venv (deploy/setup.sh does)"
    "$tools/$list/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/$list.txt" ||
      fail "pip could not install tests/infra/$list.txt" "check the network, or the index that pip is configured with"
  done
  "$tools/requirements/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$tools" "$bindings" ||
    fail "pip could not fetch $bindings" "check the network, or the index that pip is configured with"
  # Prometheus's linter, without Prometheus.
  (cd "$tools" && apt-get download -qq prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 ./usr/bin/promtool && rm prometheus_*.deb) ||
    fail "apt-get could not download prometheus" "apt-get update; this needs Debian or Ubuntu"
  echo "$wanted" >"$tools/stamp"
fi

cd "$here"
INFRA_TOOLS=$tools CLIPFLEET=$program PYTHONDONTWRITEBYTECODE=1 "$tools/requirements/bin/python" -W ignore::FutureWarning -m unittest --verbose "$@"
