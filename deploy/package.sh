#!/usr/bin/env bash
# Builds clipfleet_VERSION_ARCH.deb in target/package from programs that are already built. Debian's own tools make it:
# they find the libraries that the programs need, and no further tool has to be compiled.
#
#   deploy/package.sh [PROGRAMS]   the folder of clipfleet and clipfleet-pipeline; by default target/release
#
# CLIPFLEET_MAINTAINER   Name <address> of whoever answers for the package
# SOURCE_DATE_EPOCH      the date of all files; by default that of the commit. The same programs give the same package.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=$(realpath "${1:-$root/target/release}")
maintainer=${CLIPFLEET_MAINTAINER:-Clipfleet <clipfleet@example.org>}
output=$root/target/package
cd "$root"

fail() {
  echo "no package was made: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

for program in clipfleet clipfleet-pipeline; do
  [[ -x $programs/$program ]] || fail "$programs/$program is missing" "make package builds it"
done
for tool in dpkg-deb dpkg-shlibdeps strip; do
  command -v "$tool" >/dev/null || fail "there is no $tool" "deploy/setup.sh dpkg-dev"
done
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || true)}
[[ $SOURCE_DATE_EPOCH =~ ^[0-9]+$ ]] || fail "SOURCE_DATE_EPOCH is ${SOURCE_DATE_EPOCH:-not set}" \
  "outside a git checkout, set it to the seconds since 1970"

# The plugins that docker/plugins.txt lists, by the packages of Debian 12 and newer that contain them.
plugin_packages=(gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
  gstreamer1.0-libav)
# Faster than plugins-bad's decoder of AV1; Debian 12 does not have it.
suggested=gstreamer1.0-dav1d

# Tests that the packages above contain every plugin of the list, on this machine.
plugins=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
mapfile -t listed < <(sed '/^#/d; /^$/d' docker/plugins.txt)
for plugin in "${listed[@]}"; do
  file=/usr/lib/$plugins/gstreamer-1.0/libgst$plugin.so
  [[ -e $file ]] || continue
  owner=$(dpkg-query --search "$file")
  owner=${owner%%:*}
  [[ " ${plugin_packages[*]} $suggested libgstreamer1.0-0 " == *" $owner "* ]] ||
    fail "the plugin $plugin is in $owner, on which the package would not depend" "add it to plugin_packages in $0"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
install -d "$tree/DEBIAN"
install -D --target-directory="$tree/usr/bin" "$programs/clipfleet"
# Not a command of users: workers start it.
install -D --target-directory="$tree/usr/libexec/clipfleet" "$programs/clipfleet-pipeline"
strip --remove-section=.comment --remove-section=.note "$tree/usr/bin/clipfleet" \
  "$tree/usr/libexec/clipfleet/clipfleet-pipeline"

clipfleet=$tree/usr/bin/clipfleet
"$clipfleet" man "$tree/usr/share/man/man1"
gzip -9n "$tree"/usr/share/man/man1/*
completions() {
  install -d "$tree/usr/share/${2%/*}"
  "$clipfleet" completions "$1" >"$tree/usr/share/$2"
}
completions bash bash-completion/completions/clipfleet
completions zsh zsh/vendor-completions/_clipfleet
completions fish fish/vendor_completions.d/clipfleet.fish

version=$("$clipfleet" --version)
[[ $version =~ ^clipfleet\ ([0-9.]+)(\ \(([0-9a-f]+)\))?$ ]] || fail "the version is \"$version\"" "build it again"
commit=${BASH_REMATCH[3]:-}
version=${BASH_REMATCH[1]}
architecture=$(dpkg --print-architecture)

documents=$tree/usr/share/doc/clipfleet
install -d "$documents"
cat >"$documents/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Clipfleet

Files: *
Copyright: $(date --date="@$SOURCE_DATE_EPOCH" +%Y) The Clipfleet authors
License: Apache-2.0
Comment: The programs contain libraries written in Rust, each under its own licence: see Cargo.lock of the source.

License: Apache-2.0
 On Debian systems, the complete text of the Apache License, version 2.0, is in /usr/share/common-licenses/Apache-2.0.
END
cat >"$work/changelog" <<END
clipfleet ($version) unstable; urgency=medium

  * Built from ${commit:+commit $commit of }the source of version $version.

 -- $maintainer  $(date --date="@$SOURCE_DATE_EPOCH" --rfc-email)
END
gzip -9n <"$work/changelog" >"$documents/changelog.gz"

# ca-certificates: Google's client does not start without any certificate, even for an emulator.
#
# Libraries with the versions that the programs were built against.
mkdir "$work/debian"
printf 'Source: clipfleet\n\nPackage: clipfleet\nArchitecture: any\n' >"$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O "$tree/usr/bin/clipfleet" "$tree/usr/libexec/clipfleet/clipfleet-pipeline")
libraries=${libraries#shlibs:Depends=}
plugins=$(printf ', %s' "${plugin_packages[@]}")

cat >"$tree/DEBIAN/control" <<END
Package: clipfleet
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du --summarize --apparent-size --block-size=1024 "$tree/usr" | cut -f1)
Depends: $libraries$plugins, ca-certificates
Suggests: $suggested
Section: video
Priority: optional
Description: turn one long video into all its vertical shorts
 Clipfleet exports the clips of a long video as vertical shorts: each clip is
 one message, made by one of many workers, verified frame by frame, and
 published once.
 .
 It runs on one machine without a cloud account (clipfleet up), or as a fleet
 on Google Cloud. Clips are encoded on an NVIDIA GPU if one passes its
 self-test, otherwise on the CPU.
END
(cd "$tree" && find usr -type f -printf '%P\n' | sort | sed 's|^|usr/|' | xargs -d '\n' md5sum) >"$tree/DEBIAN/md5sums"
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$output"
rm -f "$output"/clipfleet_*.deb
package=$output/clipfleet_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
installed=$(sed -n 's/^Installed-Size: //p' "$tree/DEBIAN/control")
echo "$package: $(stat --format=%s "$package" | numfmt --to=si)B, $installed KiB installed"
