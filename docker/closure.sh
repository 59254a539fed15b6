#!/usr/bin/env bash
# Copies the GStreamer plugins of a list, and the libraries that they load, out of a full installation:
#
#   closure.sh LIST BASE TARGET [LIBRARY...]
#
# LIST      plugins, one per line
# BASE      paths of the files that the base image already contains, one per line; they are not copied
# TARGET    directory that receives the files, under their present paths
# LIBRARY   sonames that no plugin loads, but programs load, or code loads by name
#
# The package entry of each copied file is written to TARGET/var/lib/dpkg/status.d, where scanners find the packages of
# an image that has no package manager.
set -euo pipefail

list=$1 base=$2 target=$3
shift 3
libraries=/usr/lib/$(uname -m)-linux-gnu
plugins=$libraries/gstreamer-1.0

fail() {
  echo "closure: $*" >&2
  exit 1
}

files=("$libraries/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner")
while read -r name; do
  [[ -f $plugins/libgst$name.so ]] || fail "plugin $name does not exist: $plugins/libgst$name.so"
  files+=("$plugins/libgst$name.so")
done < <(sed 's/#.*//; /^ *$/d' "$list")
for soname in "$@"; do
  [[ -e $libraries/$soname ]] || fail "$libraries/$soname does not exist"
  files+=("$libraries/$soname")
done

loaded=$(mktemp)
for file in "${files[@]}"; do
  ldd "$file" | awk '/=> not found/ { print "missing " $1; next } $2 == "=>" && $3 ~ /^\// { print $3 }'
done | sort -u >"$loaded"
if grep '^missing' "$loaded" >&2; then
  fail "no installed package contains these libraries"
fi

mkdir -p "$target/var/lib/dpkg/status.d"
while read -r file; do
  # The real directory (/lib is a link to /usr/lib), with the name by which the file is loaded.
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
done < <(printf '%s\n' "${files[@]}" | cat - "$loaded" | sort -u)
rm "$loaded"
echo "closure: $(find "$target" -name '*.so*' | wc -l) libraries of $(find "$target/var/lib/dpkg/status.d" -type f | wc -l) packages, $(du -sh "$target" | cut -f1)"
