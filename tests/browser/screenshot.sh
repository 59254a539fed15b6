#!/usr/bin/env bash
# Makes the pictures of README.md anew, in Chromium against a fleet, and pictures of every state of the page in
# target/browser.
set -euo pipefail

suite="the screenshot"
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$(cd ../.. && pwd)
. "$root/tests/support/node.sh"

programs clipfleet clipfleet-pipeline
browser
packages
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
node screenshot.mjs
node states.mjs
