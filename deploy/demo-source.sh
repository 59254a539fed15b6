#!/usr/bin/env bash
# Makes a moving 1080p30 video of 36 s with sound, unless it exists: flowing colours, a test picture with a counter in
# the middle third, and a tone that beeps each second.
set -euo pipefail

target=${1:?usage: demo-source.sh TARGET.mp4}
if [[ -s $target ]]; then
  exit 0
fi
mkdir -p "$(dirname "$target")"
echo "making $target (a few seconds)"
# The colours are generated small and scaled up: at full size they would take most of a minute.
ffmpeg -hide_banner -loglevel error -y \
  -f lavfi -i "gradients=size=240x136:rate=30:duration=36:speed=0.02:seed=7,scale=1920:1080:flags=bilinear[back];testsrc2=size=540x960:rate=30:duration=36[front];[back][front]overlay=690:60,format=yuv420p" \
  -f lavfi -i "sine=frequency=330:beep_factor=4:sample_rate=48000:duration=36" \
  -c:v libx264 -preset ultrafast -crf 23 -pix_fmt yuv420p -g 250 -c:a aac -b:a 128k -movflags +faststart \
  -f mp4 "$target.partial"
mv "$target.partial" "$target"
