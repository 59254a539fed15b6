#!/usr/bin/env bash
# Makes a moving 1080p30 video of 130 s with sound, unless it is there: a picture in which every frame differs, a second
# counter, and a tone that beeps each second.
set -euo pipefail

target=${1:?usage: demo-source.sh TARGET.mp4}
if [[ -s $target ]]; then
  exit 0
fi
mkdir -p "$(dirname "$target")"
echo "making $target (about a minute)"
ffmpeg -hide_banner -loglevel error -y \
  -f lavfi -i "testsrc2=size=1920x1080:rate=30:duration=130" \
  -f lavfi -i "sine=frequency=330:beep_factor=4:sample_rate=48000:duration=130" \
  -c:v libx264 -preset superfast -crf 23 -pix_fmt yuv420p -g 250 -c:a aac -b:a 128k -movflags +faststart \
  -f mp4 "$target.partial"
mv "$target.partial" "$target"
