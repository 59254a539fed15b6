#!/usr/bin/env bash
# Creates a small root with GStreamer 1.28 from Debian testing's packages, to run the real nvcodec plugin against the
# driver double on a machine whose own GStreamer is older.
#
#   tests/double/root.sh [DIR]        DIR defaults to target/double/root
#
# Nothing is installed on this machine: a private apt state resolves and downloads the packages from the mirror of this
# machine's apt. Only the required plugins and their libraries are kept.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${1:-$here/../../target/double/root}
suite=testing
minimum=1.28
triplet=x86_64-linux-gnu
packages=(
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav libgstreamer1.0-0
)

say() { echo "root: $*"; }
fail() {
  echo "root: $*" >&2
  exit 1
}

# The root depends on this script and its list of plugins. If one of them changes, the root is created again.
recipe=$(cat "${BASH_SOURCE[0]}" "$here/plugins.txt" | sha256sum | cut -d' ' -f1)
if [[ -f $root/.recipe && $(cat "$root/.recipe") == "$recipe" ]]; then
  say "$root already exists"
  exit 0
fi

[[ $(dpkg --print-architecture) == amd64 ]] || fail "this root is for amd64 only"
for tool in apt-get dpkg-deb tar sha256sum; do
  command -v "$tool" >/dev/null || fail "$tool is missing"
done

# Packages and the unpacked stage are deleted once the root is complete: they are ten times its size.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage
mkdir -p "$work"/apt/etc/{preferences.d,apt.conf.d,sources.list.d} \
  "$work"/apt/{state/lists/partial,cache/archives/partial} "$stage"
: >"$work/apt/state/status"

apt() {
  apt-get -o Dir::Etc="$work/apt/etc" -o Dir::State="$work/apt/state" -o Dir::State::status="$work/apt/state/status" \
    -o Dir::Cache="$work/apt/cache" -o APT::Architecture=amd64 -o APT::Sandbox::User=root \
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Retries=3 "$@"
}

# The Debian archive among this machine's sources is the one that serves the installed release.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
# shellcheck disable=SC2016 # apt-get replaces these names
mirror=$(apt-get indextargets --format '$(RELEASE)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
  awk -F'|' -v release="$codename" '$1 == release && $2 == "main" && !found++ { print $3 }')
[[ -n $mirror ]] || fail "no source of $codename main among this machine's apt sources"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -f $keyring ]] || fail "$keyring is missing: apt-get install debian-archive-keyring"
echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/apt/etc/sources.list"

# Testing changes four times a day, and a mirror may list a package that it has just replaced. Then this reads the lists
# again.
download() {
  apt -qq update && apt -qq -y --no-install-recommends --download-only install "${packages[@]}"
}
for try in 1 2 3; do
  say "downloading the packages of $suite, try $try of 3"
  if download >"$work/download.log" 2>&1; then
    break
  fi
  tail -n 3 "$work/download.log" >&2
  ((try < 3)) || fail "the packages could not be downloaded from this machine's mirror"
  sleep 10
done

version=$(dpkg-deb -f "$work"/apt/cache/archives/libgstreamer1.0-0_*.deb Version)
dpkg --compare-versions "$version" ge "$minimum" || fail "$suite has GStreamer $version, $minimum is needed"
debs=("$work"/apt/cache/archives/*.deb)
say "unpacking GStreamer $version and ${#debs[@]} packages"
for deb in "${debs[@]}"; do
  # Only files that a program may load: no documentation, no data, no other programs.
  dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$stage" --wildcards --no-wildcards-match-slash \
    "./usr/lib/$triplet/*.so*" "./usr/lib/$triplet/*/*.so*" "./usr/lib/$triplet/*/*/gst-plugin-scanner" \
    './usr/lib64/*' "./lib/$triplet/*" './lib64/*' './usr/bin/gst-*-1.0' 2>/dev/null || true
done

libraries=usr/lib/$triplet
plugins=$libraries/gstreamer-1.0
[[ -x $stage/usr/lib64/ld-linux-x86-64.so.2 ]] || fail "the C library's package has no loader where it is expected"
search=$stage/$libraries$(find "$stage/$libraries" -mindepth 1 -maxdepth 1 -type d ! -name gstreamer-1.0 -printf ':%p')

# Lists the libraries that one program or plugin loads, each by its path in the stage. This asks the same loader that is
# used later.
loads() {
  "$stage/usr/lib64/ld-linux-x86-64.so.2" --library-path "$search" --list "$1" |
    awk '/=> not found/ { print "missing " $1; next } $2 == "=>" { print $3 }'
}

programs=(usr/bin/gst-launch-1.0 usr/bin/gst-inspect-1.0)
required=("${programs[@]}")
while read -r name; do
  [[ -f $stage/$plugins/libgst$name.so ]] || fail "no plugin $name in these packages"
  required+=("$plugins/libgst$name.so")
done < <(sed 's/#.*//; /^ *$/d' "$here/plugins.txt")

say "collecting the libraries of ${#required[@]} programs and plugins"
for file in "${required[@]}"; do
  loads "$stage/$file"
done | sort -u >"$work/loaded"
if grep -v "^$stage/" "$work/loaded" >&2; then
  fail "some libraries are not in these packages"
fi

say "creating $root"
rm -rf "$root"
mkdir -p "$root/$plugins" "$root/usr/bin" "$root/usr/lib64"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
while read -r library; do
  cp -L "$library" "$root/$libraries/"
done <"$work/loaded"
for file in "${required[@]}"; do
  cp -L "$stage/$file" "$root/$file"
done
cp -L "$stage/usr/lib64/ld-linux-x86-64.so.2" "$root/usr/lib64/"
# The Rust programs need these, although no plugin above does.
for library in libgcc_s.so.1 libdl.so.2 libpthread.so.0 librt.so.1; do
  [[ -e $root/$libraries/$library ]] || cp -L "$stage/$libraries/$library" "$root/$libraries/"
done
echo "$version" >"$root/.version"
echo "$recipe" >"$root/.recipe"
say "GStreamer $version in $(du -sh "$root" | cut -f1), $(find "$root" -type f | wc -l) files"
