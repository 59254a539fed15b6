/* A lossless H.264 stream writer, whose output is small where pictures do not change. */
#ifndef CLIPFLEET_DOUBLE_H264_H
#define CLIPFLEET_DOUBLE_H264_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct h264_stream {
    unsigned width, height;
    unsigned profile; /* 66, 77 or 100 */
    unsigned rate, scale; /* pictures per second: rate / scale */
    bool colour_known, full_range;
    unsigned primaries, transfer, matrix;
    bool delimiters; /* an access unit delimiter before each picture */

    unsigned frame_number, idr_id;
    uint8_t *shown; /* the current output of a decoder: whole macroblocks, luma then Cb then Cr */
};

/* An NV12 picture. */
struct picture {
    const uint8_t *luma, *chroma;
    size_t pitch;
};

bool h264_open(struct h264_stream *stream);
void h264_close(struct h264_stream *stream);

/* The maximum size of one picture with headers, bytes. */
size_t h264_capacity(const struct h264_stream *stream);

/* Writes only the parameter sets; returns the size. */
size_t h264_headers(const struct h264_stream *stream, uint8_t *out);

/* Writes one picture; NULL repeats the previous one. Returns the size. */
size_t h264_picture(struct h264_stream *stream, const struct picture *picture, bool idr, uint8_t *out);

#endif
