#!/usr/bin/env bash
# Builds both images without a container engine, with buildah in chroot isolation on a base of Debian packages, and runs
# the stack of docker/compose.yaml from them: the worker image's own GStreamer exports a clip. Needs root; stops
# everything that it starts.
#
#   tests/images/run.sh             uses the programs of target/debug instead of the build stage
#   tests/images/run.sh --compile   runs the build stage, as `deploy/images.sh build` does: many minutes
#
# RUST_BASE   with --compile: an image with Rust; by default the Dockerfile's
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
base=localhost/clipfleet-test-base
python=$root/target/infra-tools/requirements/bin/python

fail() {
  echo "images were not tested: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

((EUID == 0)) || fail "this needs root" "run it as root, in a container or a virtual machine"
for tool in buildah mmdebstrap ffprobe; do
  command -v "$tool" >/dev/null || fail "there is no $tool" "deploy/setup.sh buildah mmdebstrap"
done
[[ -x $python ]] || fail "there is no $python" "make test-infra installs it"
export BUILDAH_ISOLATION=chroot
cd "$root"

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
  mirror=$(tests/support/debian-mirror.sh) || exit 1
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  echo "building a base image of Debian testing's packages"
  mmdebstrap --quiet --mode=root --variant=minbase --include=ca-certificates \
    --aptopt='Acquire::Check-Valid-Until "false"' testing "$work/base.tar" "$mirror" ||
    fail "the base image could not be built" "see above; the mirror of this machine's apt must have testing"
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$work/base.tar" / >/dev/null
  buildah commit --quiet "$container" "$base" >/dev/null
  buildah rm "$container" >/dev/null
  rm -rf "$work"
fi

arguments=(--build-arg "MEDIA_BASE=$base" --build-arg "SERVICES_BASE=$base" --build-arg NVRTC_PACKAGE=)
if [[ ${1:-} == --compile ]]; then
  [[ -z ${RUST_BASE:-} ]] || arguments+=(--build-arg "RUST_BASE=$RUST_BASE")
else
  [[ -x target/debug/clipfleet && -x target/debug/clipfleet-pipeline ]] ||
    fail "there are no programs in target/debug" "make test builds them"
  # Without debug information, like a release.
  programs=$(mktemp -d)
  trap 'rm -rf "$programs"' EXIT
  strip -o "$programs/clipfleet" target/debug/clipfleet
  strip -o "$programs/clipfleet-pipeline" target/debug/clipfleet-pipeline
  arguments+=(--build-context "programs=$programs")
fi
log=$root/target/images.log
BUILDER=buildah deploy/images.sh build "${arguments[@]}" >"$log" 2>&1 || {
  tail -n 30 "$log" >&2
  fail "the images could not be built" "see $log"
}
grep -a '^closure:' "$log" || true
# What the weekly rebuild asks before it pushes.
BUILDER=buildah deploy/images.sh smoke "${arguments[@]}" >>"$log" 2>&1 || {
  tail -n 30 "$log" >&2
  fail "the smoke test of the images failed" "see $log"
}

PYTHONDONTWRITEBYTECODE=1 exec "$python" "$here/stack.py"
