#!/usr/bin/env bash
# Copies GStreamer's plugins of a list, and what they load, out of a full installation:
#
#   closure.sh LIST BASE TARGET [LIBRARY...]
#
# LIST      plugins, one a line
# BASE      paths of the files that the image below has already, one a line: they are not copied again
# TARGET    directory that gets the files, under the paths they have here
# LIBRARY   sonames that are loaded by name, or by the programs, and by no plugin
#
# For each package of which a file is copied, its entry goes to TARGET/var/lib/dpkg/status.d, where scanners look for what an image without
# a package manager's record of it holds.
set -euo pipefail

list=$1 base=$2 target=$3
shift 3
libraries=/usr/lib/$(uname -m)-linux-gnu
plugins=$libraries/gstreamer-1.0

fail() {
  echo "closure: $*" >&2
  exit 1
}

wanted=("$libraries/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner")
while read -r name; do
  [[ -f $plugins/libgst$name.so ]] || fail "there is no plugin $name: $plugins/libgst$name.so"
  wanted+=("$plugins/libgst$name.so")
done < <(sed 's/#.*//; /^ *$/d' "$list")
for soname in "$@"; do
  [[ -e $libraries/$soname ]] || fail "there is no $libraries/$soname"
  wanted+=("$libraries/$soname")
done

loaded=$(mktemp)
for file in "${wanted[@]}"; do
  ldd "$file" | awk '/=> not found/ { print "missing " $1; next } $2 == "=>" && $3 ~ /^\// { print $3 }'
done | sort -u >"$loaded"
if grep '^missing' "$loaded" >&2; then
  fail "these libraries are in no package that is installed"
fi

mkdir -p "$target/var/lib/dpkg/status.d"
while read -r file; do
  # Where it really lies (/lib is a link to /usr/lib), under the name by which it is loaded.
  place=$(readlink -f "$(dirname "$file")")/$(basename "$file")
  if grep -qxF "$place" "$base"; then
    continue
  fi
  mkdir -p "$target$(dirname "$place")"
  cp -L "$file" "$target$place"
  package=$(dpkg -S "$(readlink -f "$file")" 2>/dev/null | head -n 1 | cut -d: -f1)
  if [[ -n $package && ! -f $target/var/lib/dpkg/status.d/$package ]]; then
    dpkg -s "$package" >"$target/var/lib/dpkg/status.d/$package"
  fi
done < <(printf '%s\n' "${wanted[@]}" | cat - "$loaded" | sort -u)
rm "$loaded"
echo "closure: $(find "$target" -name '*.so*' | wc -l) libraries of $(find "$target/var/lib/dpkg/status.d" -type f | wc -l) packages, $(du -sh "$target" | cut -f1)"
