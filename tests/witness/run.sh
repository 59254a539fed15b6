#!/usr/bin/env bash
# Chromium as a witness: it records sources by MediaRecorder in every type that it grants, and shows sources in a
# `<video>`; what a fleet exports of them must be what was recorded and what is shown. Packages are those of the
# browser tests.
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
