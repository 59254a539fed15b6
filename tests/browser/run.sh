#!/usr/bin/env bash
# Installs the packages of the browser tests at the versions of package-lock.json, and runs the tests: the client's
# rules and geometry in Node, then client and page against `clipfleet up`, the page in Chromium. Screenshots are written
# to target/browser.
set -euo pipefail

suite="the browser tests"
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$(cd ../.. && pwd)
. "$root/tests/support/node.sh"

programs clipfleet clipfleet-pipeline
browser
packages
tests unit/*.test.mjs ./*.test.mjs
