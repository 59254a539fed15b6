#!/usr/bin/env bash
# Chromium as a witness: it records with MediaRecorder in every type that it supports, and shows sources in a `<video>`.
# A fleet's exports must match the recordings and what Chromium shows. The packages are those of the browser tests.
set -euo pipefail

suite="the witness tests"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$root/tests/support/node.sh"

if [[ ${CLIPFLEET_WITNESS:-} == long ]]; then
  export SUITE_SECONDS=3600
fi
programs clipfleet clipfleet-pipeline
browser
cd "$root/tests/browser"
packages
cd "$here"
tests ./*.test.mjs
