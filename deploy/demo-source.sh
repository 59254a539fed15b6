#!/usr/bin/env bash
# Makes a moving 1080p30 video of 130 s with sound, unless it is there: flowing colours, a test picture with a counter in the
# middle third, and a tone that beeps each second.
set -euo pipefail

target=${1:?usage: demo-source.sh TARGET.mp4}
if [[ -s $target ]]; then
  exit 0
fi
mkdir -p "$(dirname "$target")"
echo "making $target (about a minute)"
ffmpeg -hide_banner -loglevel error -y \
  -f lavfi -i "gradients=size=1920x1080:rate=30:duration=130:speed=0.02:seed=7[back];testsrc2=size=540x960:rate=30:duration=130[front];[back][front]overlay=690:60,format=yuv420p" \
  -f lavfi -i "sine=frequency=330:beep_factor=4:sample_rate=48000:duration=130" \
  -c:v libx264 -preset superfast -crf 23 -pix_fmt yuv420p -g 250 -c:a aac -b:a 128k -movflags +faststart \
  -f mp4 "$target.partial"
mv "$target.partial" "$target"
