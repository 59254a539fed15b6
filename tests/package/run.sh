#!/usr/bin/env bash
# Tests the Debian package: installs it in a bare Debian root, where apt finds what it depends on; runs it there as a
# user without rights; and removes it. Needs root and mmdebstrap, otherwise it says that it was skipped. Mounts and
# processes end with it.
#
#   tests/package/run.sh [PACKAGE]   by default the one of target/package
#
# DEBIAN   the release to install it in; by default bookworm, which is Debian 12
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
release=${DEBIAN:-bookworm}
cd "$root"

fail() {
  echo "the package failed: $1" >&2
  exit 1
}

skip() {
  echo "package: skipped: $1"
  exit 0
}

((EUID == 0)) || skip "this needs root"
for tool in mmdebstrap unshare curl ffprobe; do
  command -v "$tool" >/dev/null || skip "there is no $tool (deploy/setup.sh mmdebstrap curl ffmpeg)"
done

if [[ -n ${1:-} ]]; then
  package=$1
else
  packages=(target/package/clipfleet_*.deb)
  ((${#packages[@]} == 1)) || fail "there is not one package in target/package: ${packages[*]}"
  package=${packages[0]}
fi
[[ -f $package ]] || fail "there is no $package: make package builds it"

# Inside, a private mount namespace: what is mounted for the chroot is gone when this ends.
if [[ ${CLIPFLEET_PACKAGE_TEST:-} != inside ]]; then
  CLIPFLEET_PACKAGE_TEST=inside exec unshare --mount --propagation private "$0" "$(realpath "$package")"
fi

if command -v lintian >/dev/null; then
  lintian --fail-on error,warning "$package" || fail "lintian complains, see above"
  echo "lintian: no errors and no warnings"
else
  echo "lintian: skipped: it is not installed (deploy/setup.sh lintian)"
fi

work=$(mktemp -d)
debian=$work/debian
up=
cleanup() {
  [[ -z $up ]] || kill "$up" 2>/dev/null || true
  umount --recursive --lazy "$debian/proc" 2>/dev/null || true
  umount --recursive --lazy "$debian/dev" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT

mirror=$(tests/support/debian-mirror.sh)
echo "installing a bare $release and the package in it"
# mmdebstrap runs this with the root as its argument, while apt there has network and its configuration.
cat >"$work/install" <<'END'
#!/bin/sh
set -e
install --target-directory="$1/root" "$PACKAGE"
chroot "$1" dpkg-query --show >"$1/../packages-before"
export DEBIAN_FRONTEND=noninteractive
chroot "$1" sh -c "apt-get install -y -qq --no-install-recommends /root/*.deb" >"$1/../apt.log" 2>&1
END
chmod +x "$work/install"
PACKAGE=$package mmdebstrap --quiet --mode=root --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
  --customize-hook="$work/install" "$release" "$debian" "$mirror" || {
  tail -n 20 "$work/apt.log" >&2 || true
  fail "it cannot be installed"
}
mount -t proc proc "$debian/proc"
mount --rbind /dev "$debian/dev"
mount --make-rslave "$debian/dev"
added=$(($(chroot "$debian" dpkg-query --show | wc -l) - $(wc -l <"$work/packages-before")))
size=$(du --summarize --block-size=1M --one-file-system "$debian" | cut -f1)
echo "installed: $size MiB with Debian itself; apt added $added packages"
for file in man/man1/clipfleet.1.gz man/man1/clipfleet-serve.1.gz bash-completion/completions/clipfleet \
  zsh/vendor-completions/_clipfleet fish/vendor_completions.d/clipfleet.fish doc/clipfleet/copyright; do
  [[ -s $debian/usr/share/$file ]] || fail "there is no /usr/share/$file"
done

chroot "$debian" useradd --create-home someone
# Not a function: in the background, the process must be the program itself.
as_user=(chroot --userspec=someone "$debian" env --ignore-environment --chdir=/home/someone HOME=/home/someone
  PATH=/usr/bin:/bin)
"${as_user[@]}" clipfleet doctor | tee "$work/doctor"
grep -qx "This machine can export clips." "$work/doctor" || fail "the doctor found problems"

deploy/demo-source.sh "$work/talk.mp4" >/dev/null
install -m 644 "$work/talk.mp4" "$debian/home/someone/talk.mp4"
"${as_user[@]}" clipfleet export talk.mp4 --clip intro=0-2 --quality 720p
clip=$debian/home/someone/clips/talk-intro.mp4
shape=$(ffprobe -v error -select_streams v -show_entries stream=codec_name,width,height -of csv=p=0 "$clip")
[[ $shape == h264,720,1280 ]] || fail "the clip is $shape, not h264,720,1280"

"${as_user[@]}" clipfleet up --listen 127.0.0.1:0 --emulator 127.0.0.1:0 >"$work/up" 2>&1 &
up=$!
for _ in {1..300}; do
  grep -q '^Ctrl-C stops' "$work/up" && break
  kill -0 "$up" 2>/dev/null || break
  sleep 0.1
done
page=$(sed -n 's|^ *Open *||p' "$work/up")
[[ -n $page ]] || fail "clipfleet up did not start: $(<"$work/up")"
curl --silent --fail --location "$page" | grep -q '<title>' || fail "$page does not show the page"
curl --silent --fail "$page/v1/fleet" >/dev/null || fail "$page/v1/fleet does not answer"
kill -TERM "$up"
wait "$up" || fail "clipfleet up ended with $?"
up=

chroot "$debian" apt-get purge -y -qq clipfleet >/dev/null 2>&1 || fail "it cannot be removed"
left=$(chroot "$debian" find / -xdev -iname '*clipfleet*' -not -path '/home/*' -not -path '/root/*')
[[ -z $left ]] || fail "it left these behind: $left"
[[ -s $clip ]] || fail "the user's clip is gone"
echo "package: passed: $(stat --format=%s "$package" | numfmt --to=si)B; installed, checked, exported, served, removed"
