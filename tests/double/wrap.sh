#!/usr/bin/env bash
# Writes a program that runs another one with GStreamer 1.28 and the driver double, for CLIPFLEET_PIPELINE:
#
#   CLIPFLEET_DOUBLE_FAULT=encode-error-after=20 tests/double/wrap.sh /tmp/x/pipeline target/debug/clipfleet-pipeline
#
# The worker starts its media program with a clean environment, so the settings of this call (all CLIPFLEET_DOUBLE_*
# variables) are written into the file.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
(($# == 2)) || {
  echo "usage: wrap.sh FILE PROGRAM" >&2
  exit 64
}
program=$(realpath "$2")
{
  echo '#!/usr/bin/env bash'
  for name in "${!CLIPFLEET_DOUBLE_@}"; do
    printf 'export %s=%q\n' "$name" "${!name}"
  done
  printf 'exec %q %q "$@"\n' "$here/run.sh" "$program"
} >"$1"
chmod +x "$1"
