#!/usr/bin/env bash
# Tests the real nvcodec plugin on the driver double: the full chain, the mixed chains, a moving crop, other codecs,
# other GPUs and every fault. Exits non-zero on any deviation.
#
#   tests/double/smoke.sh        needs ffmpeg, a C compiler, libffmpeg-nvenc-dev and libgstreamer1.0-dev
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/root.sh"
make --silent -C "$here/driver"
double=$(cd "$here/../../target/double" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

passed=0
failed=0

# expect WHAT EXPECTED ACTUAL
expect() {
  if [[ $2 == "$3" ]]; then
    passed=$((passed + 1))
    echo "  ok    $1"
  else
    failed=$((failed + 1))
    echo "  FAIL  $1: expected $2, got $3"
  fi
}

# logged CALL FIELD...: one log line of this call has all these fields, given as in JSON.
logged() {
  local lines field
  lines=$(grep -F "\"call\":\"$1\"" log.json || true)
  for field in "${@:2}"; do
    lines=$(grep -F "$field" <<<"$lines" || true)
    expect "$1 has $field" yes "$([[ -n $lines ]] && echo yes || echo no)"
  done
}

# play [OPTION OF launch]... -- PIPELINE: fills log.json, bus.json and $status. The pipeline writes out.mp4.
play() {
  local options=()
  while [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  shift
  rm -f log.json bus.json out.mp4
  status=0
  # The outer timeout is for a driver call that never returns, which no pipeline can end.
  CLIPFLEET_DOUBLE_LOG=$work/log.json timeout 90 "$here/run.sh" "$double/launch" --seconds 60 "${options[@]}" "$*" \
    >bus.json 2>stderr.txt || status=$?
  touch log.json
}

frames() {
  ffprobe -v error -count_frames -select_streams v -show_entries stream=nb_read_frames -of csv=p=0 out.mp4 \
    2>/dev/null || echo none
}

stream() {
  ffprobe -v error -select_streams v -show_entries "stream=$1" -of csv=p=0 out.mp4 2>/dev/null || echo none
}

# measured WIDTH HEIGHT: one line per picture of out.mp4, "left top width height number".
measured() {
  ffmpeg -v error -i out.mp4 -fps_mode passthrough -f rawvideo -pix_fmt yuv420p - |
    "$double/measure" "$1" "$2" 1920 1080 | sed 's/[^-0-9.,nul:]//g; s/^[^0-9-]*//' | tr -s ':,nul' ' ' >measured.txt
}

# within TOLERANCE LEFT TOP WIDTH HEIGHT: every picture shows this rectangle of the source.
within() {
  awk -v t="$1" -v l="$2" -v y="$3" -v w="$4" -v h="$5" 'function far(a, b) { return a - b > t || b - a > t }
    far($1, l) || far($2, y) || far($3, w) || far($4, h) { bad++ }
    END { print bad ? bad " pictures off" : "all" }' measured.txt
}

# in_order COUNT: the numbers of the pictures are 0, 1, 2 ... modulo 32.
in_order() {
  awk -v n="$1" '$5 != (NR - 1) % 32 { bad++ } END { print !bad && NR == n ? "all" : bad " wrong of " NR }' measured.txt
}

source='filesrc location=source.mp4 ! qtdemux name=demux demux.video_0 ! queue !'
crop='videocrop name=crop left=656 right=656 !'
vertical='format=NV12,width=1080,height=1920,pixel-aspect-ratio=1/1'
to_vertical="cudaconvertscale add-borders=false ! video/x-raw(memory:CUDAMemory),$vertical !"
on_cpu="videoconvertscale add-borders=false ! video/x-raw,$vertical !"
nvenc='nvh264enc preset=p4 tune=high-quality rc-mode=vbr const-quality=23 bframes=2 spatial-aq=true gop-size=60 !
  video/x-h264,profile=high !'
unbound='queue max-size-buffers=0 max-size-bytes=0 max-size-time=0'
file='mp4mux ! filesink location=out.mp4'
full="$source nvh264dec max-errors=0 ! $crop $to_vertical $nvenc $file"

echo "sources"
ffmpeg -v error -f lavfi -i testsrc2=s=1920x1080:r=30:d=3 -f lavfi -i sine=f=440:d=3 \
  -c:v libx264 -preset ultrafast -bf 2 -g 30 -pix_fmt yuv420p \
  -colorspace bt709 -color_primaries bt709 -color_trc bt709 -c:a aac source.mp4
ffmpeg -v error -i source.mp4 -t 1 -an -c:v libx265 -preset ultrafast -x265-params log-level=error \
  -pix_fmt yuv420p10le hevc10.mp4
ffmpeg -v error -i source.mp4 -t 1 -an -c:v libvpx-vp9 -deadline realtime -cpu-used 8 vp9.webm
ffmpeg -v error -i source.mp4 -t 1 -an -c:v libx264 -preset ultrafast -pix_fmt yuv422p h264-422.mp4

echo "the real plugin registers"
inspected=$("$here/run.sh" gst-inspect-1.0 nvcodec 2>/dev/null || true)
for element in nvh264dec nvh265dec nvvp8dec nvvp9dec nvav1dec cudaconvertscale cudascale cudaconvert cudadownload \
  cudaupload nvh264enc; do
  expect "$element" yes "$(grep -q "^  $element:" <<<"$inspected" && echo yes || echo no)"
done

echo "full chain: decode, crop, scale and encode on the GPU, audio beside it"
play -- "$source nvh264dec ! $crop $to_vertical $nvenc $unbound ! mp4mux name=mux faststart=true !
  filesink location=out.mp4 demux.audio_0 ! $unbound ! aacparse ! avdec_aac ! audioconvert ! audioresample !
  avenc_aac bitrate=128000 ! $unbound ! mux."
expect "exit status" 0 "$status"
expect "frames" 90 "$(frames)"
expect "size" 1080,1920 "$(stream width,height)"
expect "colour" tv,bt709,bt709,bt709 "$(stream color_range,color_space,color_transfer,color_primaries)"
expect "profile" High "$(stream profile)"
seconds=$(ffprobe -v error -select_streams a -show_entries stream=duration -of csv=p=0 out.mp4 | cut -c1-3)
expect "seconds of audio" 3.0 "$seconds"
logged decoder '"codec":"h264"' '"coded_size":[1920,1088]' '"size":[1920,1080]' '"output":"NV12"'
logged kernel '"from":"NV12"' '"source_rect":[656.00,0.00,608.00,1080.00]' '"size":[1080,1920]' \
  '"target_rect":[0,0,1080,1920]' '"convert":false'
logged encoder '"preset":"p4"' '"tune":"high-quality"' '"rate_control":"vbr"' '"const_quality":23,' '"gop_length":60' \
  '"idr_period":60' '"frame_interval_p":3' '"spatial_aq":true' '"temporal_aq":false' '"lookahead":0' \
  '"size":[1080,1920]' '"frame_rate":[30,1]' '"profile":"high"' '"cabac":true' '"colour":[1,1,1]' '"full_range":false' \
  '"average_is_preset":true' '"max_is_preset":true' '"vbv_buffer_size":3456789'
logged encoder-closed '"pictures":90' '"idr_pictures":2'
logged decoder-closed '"pictures":90'
measured 1080 1920
expect "the crop in the pixels" all "$(within 2 656 0 608 1080)"
expect "pictures in order" all "$(in_order 90)"

echo "bit rates as they arrive"
play -- "$source nvh264dec ! $crop $to_vertical nvh264enc rc-mode=vbr const-quality=23 bitrate=8000 max-bitrate=12000
  vbv-buffer-size=24000 ! $file"
logged encoder '"average_bit_rate":8192000' '"max_bit_rate":12288000' '"vbv_buffer_size":24576000'
play -- "$source nvh264dec ! $crop $to_vertical nvh264enc rc-mode=constqp qp-const-i=21 qp-const-p=23 qp-const-b=25
  rc-lookahead=20 temporal-aq=true ! $file"
logged encoder '"rate_control":"constqp"' '"const_qp":[21,23,25]' '"lookahead":20' '"temporal_aq":true'

echo "mixed chains"
play -- "$source nvh264dec ! cudadownload ! $crop $on_cpu $nvenc $file"
expect "decode on the GPU, frames on the CPU, encode on the GPU" 0,90 "$status,$(frames)"
measured 1080 1920
expect "its crop" all "$(within 2 656 0 608 1080)"
play -- "$source avdec_h264 ! $crop $on_cpu tee name=both both. ! queue ! $nvenc $file
  both. ! queue ! filesink location=given.nv12"
expect "decode on the CPU, encode on the GPU" 0,90 "$status,$(frames)"
ffmpeg -v error -i out.mp4 -fps_mode passthrough -f rawvideo -pix_fmt nv12 -y coded.nv12
expect "the decoded pictures are the encoder's input" same \
  "$(cmp -s given.nv12 coded.nv12 && echo same || echo different)"
rm -f given.nv12 coded.nv12
play -- "$source avdec_h264 ! cudaupload ! $crop $to_vertical $nvenc $file"
expect "decode on the CPU, scale and encode on the GPU" 0,90 "$status,$(frames)"
logged kernel '"from":"I420","to":"NV12"'
play -- "$source nvh264dec ! $crop $to_vertical cudadownload !
  x264enc speed-preset=ultrafast pass=qual quantizer=20 ! $file"
expect "decode and scale on the GPU, encode on the CPU" 0,90 "$status,$(frames)"
measured 1080 1920
expect "its crop" all "$(within 3 656 0 608 1080)"

echo "a moving crop"
play --pan 200 1000 1312 90 -- "$full"
expect "frames" 0,90 "$status,$(frames)"
expect "one rectangle per picture" 90 "$(grep -c '"call":"kernel"' log.json)"
logged kernel '"source_rect":[200.00,0.00,608.00,1080.00]'
logged kernel '"source_rect":[1000.00,0.00,608.00,1080.00]'
measured 1080 1920
expect "rectangles in the pixels" all "$(awk '{ d = $1 - int(200 + 800 * (NR - 1) / 89) } d > 2 || d < -2 { bad++ }
  END { print bad ? bad : "all" }' measured.txt)"

echo "other geometry"
play -- "$source nvh264dec ! videocrop left=655 right=657 top=11 bottom=3 ! cudaconvertscale add-borders=false !
  video/x-raw(memory:CUDAMemory),format=NV12,width=720,height=1280,pixel-aspect-ratio=1/1 ! $nvenc $file"
logged kernel '"source_rect":[655.00,11.00,608.00,1066.00]'
measured 720 1280
expect "an odd crop" all "$(within 2 655 11 608 1066)"
play -- "$source nvh264dec ! cudaconvertscale video-direction=90r !
  video/x-raw(memory:CUDAMemory),width=1080,height=1920 ! $nvenc $file"
logged kernel '"transform":[0,-1,1,0,0,1]'
expect "a quarter turn" 0,90 "$status,$(frames)"
# Samples of every value, and a size that is not a multiple of a macroblock.
play -- "videotestsrc pattern=snow num-buffers=12 ! video/x-raw,format=NV12,width=400,height=722,framerate=30/1 !
  tee name=both both. ! queue ! $nvenc $file both. ! queue ! filesink location=given.nv12"
ffmpeg -v error -i out.mp4 -fps_mode passthrough -f rawvideo -pix_fmt nv12 -y coded.nv12
expect "noise of 400x722 is unchanged" same "$(cmp -s given.nv12 coded.nv12 && echo same || echo different)"

echo "other codecs"
play -- "filesrc location=hevc10.mp4 ! qtdemux ! h265parse ! nvh265dec ! $crop $to_vertical $nvenc $file"
expect "HEVC of ten bits" 0,30 "$status,$(frames)"
logged decoder '"codec":"hevc","bit_depth":10' '"output":"P016"'
logged kernel '"from":"NV12 16 bit","to":"NV12"'
play -- "filesrc location=vp9.webm ! matroskademux ! vp9parse ! nvvp9dec ! $crop $to_vertical $nvenc $file"
expect "VP9" 0,30 "$status,$(frames)"
play -- "filesrc location=h264-422.mp4 ! qtdemux ! nvh264dec ! $crop $to_vertical $nvenc $file"
expect "H.264 4:2:2 is refused" 1 "$status"

# bus FIELD...: the first error of the bus has these fields.
bus() {
  local field
  for field in "$@"; do
    expect "the bus has $field" yes \
      "$(grep -m1 -E '^\{"(error|not_built)"' bus.json | grep -qF "$field" && echo yes || echo no)"
  done
}

# with FAULT [GPU] [PIPELINE]: plays the full chain, or another pipeline, with this fault and GPU.
with() {
  export CLIPFLEET_DOUBLE_FAULT=$1 CLIPFLEET_DOUBLE_GPU=${2:-}
  echo "${1:+fault $1}${2:+GPU $2}"
  play --seconds 15 -- "${3:-$full}"
  unset CLIPFLEET_DOUBLE_FAULT CLIPFLEET_DOUBLE_GPU
}

for fault in no-device no-driver; do
  with "$fault"
  bus 'no element \"nvh264dec\"'
done
for fault in no-nvenc no-nvenc-api no-nvenc-library old-driver; do
  with "$fault"
  bus 'no element \"nvh264enc\"'
done
with no-nvenc name=NVIDIA\ H100 "$source nvh264dec max-errors=0 ! $crop $to_vertical cudadownload !
  x264enc speed-preset=ultrafast ! $file"
expect "decoding and scaling on the GPU, encoding on the CPU" 0,90 "$status,$(frames)"
for fault in no-nvrtc kernel-compile-error; do
  with "$fault"
  bus 'no element \"cudaconvertscale\"'
done
for fault in open-out-of-memory session-limit; do
  with "$fault"
  bus '"element":"nvh264enc","domain":"gst-stream-error-quark","code":8' 'Failed to open session'
done
with lock-error-after=20
bus '"element":"nvh264enc","domain":"gst-stream-error-quark","code":8' 'NV_ENC_ERR_GENERIC (20)'
for fault in encode-error-after=20 kernel-error kernel-error-after=20; do
  with "$fault"
  # The element that failed reports nothing; the source does.
  bus '"element":"qtdemux","domain":"gst-stream-error-quark","code":1' 'streaming stopped, reason error (-5)'
done
with decode-error-after=20
bus '"element":"nvh264dec","domain":"gst-stream-error-quark","code":7' 'Failed to decode data'
with decode-error-after=20 '' "${full/max-errors=0/}"
expect "without max-errors a broken decoder looks like a normal end" 0,20 "$status,$(frames)"
with decoder-open-error
bus '"element":"nvh264dec","domain":"gst-stream-error-quark","code":7'
with device-out-of-memory=12
expect "exit status" 1 "$status"
with encode-hang-after=20
expect "exit status of a pipeline that never ends" 3 "$status"
with garbage-after=20
expect "frames of a frozen stream" 0,90 "$status,$(frames)"
measured 1080 1920
expect "numbers of its pictures" "0 19 19" \
  "$(awk 'NR == 1 || NR == 20 || NR == 90 { printf "%s%s", s, $5; s = " " }' measured.txt)"
two_sessions='videotestsrc num-buffers=30 ! video/x-raw,format=NV12 ! nvh264enc ! fakesink
  videotestsrc num-buffers=30 ! video/x-raw,format=NV12 ! nvh264enc ! fakesink'
with '' '' "$two_sessions"
expect "two sessions in one process" 0 "$status"
with session-limit=1 '' "$two_sessions"
bus 'Failed to open session'
with '' bframes=0
bus 'no property \"bframes\"'
with '' decode=hevc
bus 'no element \"nvh264dec\"'
with '' encode-max=1024
bus "nvh264enc0 can't handle caps"

echo "$passed passed, $failed failed"
((failed == 0))
