#!/usr/bin/env bash
# Makes the pictures of README.md anew, in Chromium against a fleet.
set -euo pipefail

suite="the screenshot"
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$(cd ../.. && pwd)
. "$root/tests/support/node.sh"

programs clipfleet clipfleet-pipeline
browser
packages
NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 node screenshot.mjs
