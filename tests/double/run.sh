#!/usr/bin/env bash
# Runs a command with GStreamer 1.28 and the driver double (after root.sh and `make -C driver`).
#
#   tests/double/run.sh gst-inspect-1.0 nvh264enc
#   CLIPFLEET_DOUBLE_LOG=calls.json tests/double/run.sh target/debug/clipfleet-pipeline --check
#
# The command is a program of the root or a path to any other program. The root's own loader starts it, so it uses
# neither the libraries nor the GStreamer of this machine. Programs that it starts run as usual. This script becomes the
# program: signals and the exit status are the program's own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
double=${CLIPFLEET_DOUBLE_DIR:-$here/../../target/double}
double=$(cd "$double" && pwd)
root=$double/root
libraries=$root/usr/lib/x86_64-linux-gnu
driver=$double/driver
fault=,${CLIPFLEET_DOUBLE_FAULT:-},

(($# > 0)) || {
  echo "usage: run.sh COMMAND [ARGUMENT]..." >&2
  exit 64
}
[[ -f $root/.recipe && -e $driver/double.so ]] || {
  echo "run.sh: no root or no driver double in $double: run root.sh and make -C driver" >&2
  exit 1
}

program=$1
shift
if [[ $program != */* ]]; then
  program=$root/usr/bin/$program
fi

# A missing library is the only fault that the double cannot simulate itself.
path=$libraries
[[ $fault == *,no-driver,* ]] || path+=:$driver/cuda:$driver/cuvid
[[ $fault == *,no-driver,* || $fault == *,no-nvenc-library,* ]] || path+=:$driver/nvenc
[[ $fault == *,no-driver,* || $fault == *,no-nvrtc,* ]] || path+=:$driver/nvrtc

# A registry for each kind of GPU and fault: a registry of another GPU would hide or add elements. A caller that sets
# its own registry keeps it.
key=$(stat -Lc %Y "$driver/double.so" "$root/.recipe")$fault${CLIPFLEET_DOUBLE_GPU:-}
mkdir -p "$double/registry"
export GST_REGISTRY=${GST_REGISTRY:-$double/registry/$(sha256sum <<<"$key" | cut -c1-16).bin}

export GST_REGISTRY_FORK=no
export GST_PLUGIN_PATH="" GST_PLUGIN_PATH_1_0=""
export GST_PLUGIN_SYSTEM_PATH=$libraries/gstreamer-1.0 GST_PLUGIN_SYSTEM_PATH_1_0=$libraries/gstreamer-1.0
export GST_CUDA_NVRTC_LIBNAME=libnvrtc.so.12
export GIO_MODULE_DIR=$double/registry # empty: no modules of this machine
export LC_ALL=C.UTF-8

exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$path" --argv0 "$program" "$program" "$@"
