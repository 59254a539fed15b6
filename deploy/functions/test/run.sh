#!/usr/bin/env bash
# Installs the functions and what tests them, at the versions of package-lock.json, and runs the tests against `clipfleet up`.
set -euo pipefail

suite="the functions' tests"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(cd ../.. && pwd)
. "$root/tests/support/node.sh"

programs clipfleet clipfleet-pipeline
packages
tests test/*.test.js
