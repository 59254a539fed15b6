#!/usr/bin/env bash
# Installs the Firebase web SDK and the browser driver at the versions of package-lock.json, and runs the SDK in
# Chromium against the emulator (clipfleet-emulator) and against a fleet (clipfleet up).
set -euo pipefail

suite="the Firebase SDK's tests"
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$(cd ../.. && pwd)
. "$root/tests/support/node.sh"

programs clipfleet clipfleet-emulator clipfleet-pipeline
browser
packages
tests ./*.test.mjs
