#!/usr/bin/env bash
# Installs what the browser tests need, at the versions of package-lock.json, and runs them: the client's rules and geometry in Node,
# then client and page against `clipfleet up`, the page in Chromium. Screenshots are left in target/browser.
set -euo pipefail

suite="the browser tests"
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$(cd ../.. && pwd)
. "$root/tests/support/node.sh"

programs clipfleet clipfleet-pipeline
browser
packages
tests unit/*.test.mjs ./*.test.mjs
