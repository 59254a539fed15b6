/* Pictures are written losslessly: every macroblock that differs from the previous picture is sent as raw samples
 * (I_PCM), every other one is skipped; the deblocking filter is off. So a decoder outputs exactly the encoder's input,
 * and a test can require equality. Coding order is display order (picture order count type 2). */
#include "h264.h"

#include <stdlib.h>
#include <string.h>

enum {
    MACROBLOCK = 16,
    SAMPLES = 384, /* of one macroblock: 256 luma, 64 Cb, 64 Cr */
    FRAME_NUMBER_BITS = 8,
    NAL_SLICE = 0x61,
    NAL_IDR = 0x65,
    NAL_SPS = 0x67,
    NAL_PPS = 0x68,
    NAL_DELIMITER = 0x09,
    SLICE_P = 5, /* "all slices of this picture are of this type" */
    SLICE_I = 7,
    I_PCM = 25, /* mb_type in I slices; five more in P slices */
    I_PCM_IN_P = 30,
    /* Raw samples exceed the bit rate of every level, so the level only states the size, by which decoders allocate. */
    LEVEL_SMALL = 42,
    LEVEL_LARGE = 52,
    LEVEL_SMALL_MACROBLOCKS = 8704,
};

/* Writes bits after a start code, and escapes start codes of three bytes in the payload. */
struct writer {
    uint8_t *out;
    size_t size;
    unsigned zeros; /* at the end of the output */
    unsigned current, filled;
};

static void put_byte(struct writer *writer, uint8_t byte)
{
    if (writer->zeros == 2 && byte <= 3) {
        writer->out[writer->size++] = 3;
        writer->zeros = 0;
    }
    writer->out[writer->size++] = byte;
    writer->zeros = byte == 0 ? writer->zeros + 1 : 0;
}

static void put_bit(struct writer *writer, unsigned bit)
{
    writer->current = writer->current << 1 | (bit & 1);
    if (++writer->filled == 8) {
        put_byte(writer, (uint8_t)writer->current);
        writer->current = writer->filled = 0;
    }
}

static void put_bits(struct writer *writer, unsigned value, unsigned count)
{
    while (count-- > 0)
        put_bit(writer, value >> count);
}

static void put_ue(struct writer *writer, unsigned value)
{
    unsigned bits = 32 - (unsigned)__builtin_clz(value + 1);
    put_bits(writer, 0, bits - 1);
    put_bits(writer, value + 1, bits);
}

static void put_se(struct writer *writer, int value)
{
    put_ue(writer, value > 0 ? (unsigned)(2 * value - 1) : (unsigned)(-2 * value));
}

static struct writer begin_nal(uint8_t *out, uint8_t header)
{
    static const uint8_t start[] = {0, 0, 0, 1};
    memcpy(out, start, sizeof start);
    out[sizeof start] = header;
    return (struct writer){.out = out, .size = sizeof start + 1};
}

static size_t end_nal(struct writer *writer)
{
    put_bit(writer, 1);
    while (writer->filled != 0)
        put_bit(writer, 0);
    return writer->size;
}

static unsigned columns(const struct h264_stream *stream)
{
    return (stream->width + MACROBLOCK - 1) / MACROBLOCK;
}

static unsigned rows(const struct h264_stream *stream)
{
    return (stream->height + MACROBLOCK - 1) / MACROBLOCK;
}

static void put_vui(struct writer *writer, const struct h264_stream *stream)
{
    put_bit(writer, 1); /* square samples, idc 1 */
    put_bits(writer, 1, 8);
    put_bit(writer, 0); /* overscan */
    put_bit(writer, 1); /* video signal type */
    put_bits(writer, 5, 3); /* unspecified kind of video */
    put_bit(writer, stream->full_range);
    put_bit(writer, stream->colour_known);
    if (stream->colour_known) {
        put_bits(writer, stream->primaries, 8);
        put_bits(writer, stream->transfer, 8);
        put_bits(writer, stream->matrix, 8);
    }
    put_bit(writer, 0); /* chroma location */
    put_bit(writer, 1); /* timing: ticks are fields, two per picture */
    put_bits(writer, stream->scale, 32);
    put_bits(writer, 2 * stream->rate, 32);
    put_bit(writer, 1); /* fixed rate */
    put_bits(writer, 0, 2); /* no HRD of either kind */
    put_bit(writer, 0); /* picture structure */
    put_bit(writer, 1); /* bounds on the stream: */
    put_bit(writer, 1);
    put_ue(writer, 0);
    put_ue(writer, 0);
    put_ue(writer, 16);
    put_ue(writer, 16);
    put_ue(writer, 0); /* no reordering */
    put_ue(writer, 1);
}

static size_t write_sps(const struct h264_stream *stream, uint8_t *out)
{
    unsigned macroblocks = columns(stream) * rows(stream);
    unsigned right = (columns(stream) * MACROBLOCK - stream->width) / 2;
    unsigned bottom = (rows(stream) * MACROBLOCK - stream->height) / 2;
    struct writer writer = begin_nal(out, NAL_SPS);

    put_bits(&writer, stream->profile, 8);
    put_bits(&writer, 0, 8);
    put_bits(&writer, macroblocks > LEVEL_SMALL_MACROBLOCKS ? LEVEL_LARGE : LEVEL_SMALL, 8);
    put_ue(&writer, 0);
    if (stream->profile == 100) {
        put_ue(&writer, 1); /* 4:2:0 */
        put_ue(&writer, 0); /* eight bits of luma */
        put_ue(&writer, 0); /* and chroma */
        put_bits(&writer, 0, 2); /* no lossless transform bypass, no scaling lists */
    }
    put_ue(&writer, FRAME_NUMBER_BITS - 4);
    put_ue(&writer, 2); /* display order is coding order */
    put_ue(&writer, 1); /* one reference */
    put_bit(&writer, 0);
    put_ue(&writer, columns(stream) - 1);
    put_ue(&writer, rows(stream) - 1);
    put_bit(&writer, 1); /* frames only */
    put_bit(&writer, 1); /* direct 8x8 inference */
    put_bit(&writer, right > 0 || bottom > 0);
    if (right > 0 || bottom > 0) {
        put_ue(&writer, 0);
        put_ue(&writer, right);
        put_ue(&writer, 0);
        put_ue(&writer, bottom);
    }
    put_bit(&writer, 1);
    put_vui(&writer, stream);
    return end_nal(&writer);
}

static size_t write_pps(uint8_t *out)
{
    struct writer writer = begin_nal(out, NAL_PPS);
    put_ue(&writer, 0);
    put_ue(&writer, 0);
    put_bit(&writer, 0); /* CAVLC: sufficient for raw samples */
    put_bit(&writer, 0);
    put_ue(&writer, 0); /* one slice group */
    put_ue(&writer, 0); /* one reference in either list */
    put_ue(&writer, 0);
    put_bit(&writer, 0); /* no weighted prediction */
    put_bits(&writer, 0, 2);
    put_se(&writer, 0);
    put_se(&writer, 0);
    put_se(&writer, 0);
    put_bit(&writer, 1); /* slices control the deblocking filter */
    put_bit(&writer, 0);
    put_bit(&writer, 0);
    return end_nal(&writer);
}

size_t h264_headers(const struct h264_stream *stream, uint8_t *out)
{
    size_t size = write_sps(stream, out);
    return size + write_pps(out + size);
}

static size_t write_delimiter(uint8_t *out, bool idr)
{
    struct writer writer = begin_nal(out, NAL_DELIMITER);
    put_bits(&writer, idr ? 0 : 1, 3);
    return end_nal(&writer);
}

static void put_slice_header(struct writer *writer, const struct h264_stream *stream, bool idr)
{
    put_ue(writer, 0);
    put_ue(writer, idr ? SLICE_I : SLICE_P);
    put_ue(writer, 0);
    put_bits(writer, stream->frame_number % (1u << FRAME_NUMBER_BITS), FRAME_NUMBER_BITS);
    if (idr)
        put_ue(writer, stream->idr_id);
    else
        put_bits(writer, 0, 2); /* references as in the PPS, in default order */
    put_bits(writer, 0, idr ? 2 : 1); /* plain marking of references */
    put_se(writer, 0);
    put_ue(writer, 1); /* deblocking filter off */
}

/* One macroblock of the input. Where the picture ends inside it, the last column and row are repeated. */
static void gather(const struct h264_stream *stream, const struct picture *picture, unsigned column, unsigned row,
                   uint8_t samples[SAMPLES])
{
    unsigned left = column * MACROBLOCK, top = row * MACROBLOCK;
    unsigned width = stream->width - left < MACROBLOCK ? stream->width - left : MACROBLOCK;
    for (unsigned y = 0; y < MACROBLOCK; y++) {
        unsigned from = top + y < stream->height ? top + y : stream->height - 1;
        uint8_t *line = samples + y * MACROBLOCK;
        memcpy(line, picture->luma + from * picture->pitch + left, width);
        memset(line + width, line[width - 1], MACROBLOCK - width);
    }
    unsigned last = stream->height / 2 - 1;
    for (unsigned y = 0; y < 8; y++) {
        unsigned from = top / 2 + y < last ? top / 2 + y : last;
        const uint8_t *pairs = picture->chroma + from * picture->pitch + left;
        for (unsigned x = 0; x < 8; x++) {
            unsigned at = x < width / 2 ? x : width / 2 - 1;
            samples[256 + y * 8 + x] = pairs[2 * at];
            samples[320 + y * 8 + x] = pairs[2 * at + 1];
        }
    }
}

static void put_raw(struct writer *writer, const uint8_t samples[SAMPLES])
{
    while (writer->filled != 0)
        put_bit(writer, 0);
    for (unsigned i = 0; i < SAMPLES; i++)
        put_byte(writer, samples[i]);
}

static void put_macroblocks(struct writer *writer, struct h264_stream *stream, const struct picture *picture, bool idr)
{
    unsigned skipped = 0;
    uint8_t *shown = stream->shown;

    for (unsigned row = 0; row < rows(stream); row++) {
        for (unsigned column = 0; column < columns(stream); column++, shown += SAMPLES) {
            uint8_t samples[SAMPLES];
            if (picture != NULL)
                gather(stream, picture, column, row, samples);
            else
                memcpy(samples, shown, SAMPLES);
            if (!idr && memcmp(samples, shown, SAMPLES) == 0) {
                skipped++;
                continue;
            }
            if (!idr)
                put_ue(writer, skipped);
            put_ue(writer, idr ? I_PCM : I_PCM_IN_P);
            put_raw(writer, samples);
            memcpy(shown, samples, SAMPLES);
            skipped = 0;
        }
    }
    if (skipped > 0)
        put_ue(writer, skipped);
}

size_t h264_picture(struct h264_stream *stream, const struct picture *picture, bool idr, uint8_t *out)
{
    size_t size = stream->delimiters ? write_delimiter(out, idr) : 0;
    if (idr) {
        size += h264_headers(stream, out + size);
        stream->frame_number = 0;
        stream->idr_id = !stream->idr_id; /* consecutive IDR pictures must have different ids */
    }
    struct writer writer = begin_nal(out + size, idr ? NAL_IDR : NAL_SLICE);
    put_slice_header(&writer, stream, idr);
    put_macroblocks(&writer, stream, picture, idr);
    stream->frame_number++;
    return size + end_nal(&writer);
}

size_t h264_capacity(const struct h264_stream *stream)
{
    /* Escapes lengthen a payload by at most half; 16 bytes hold any macroblock header. */
    return 4096 + (size_t)columns(stream) * rows(stream) * (SAMPLES + 16) * 3 / 2;
}

bool h264_open(struct h264_stream *stream)
{
    stream->shown = calloc((size_t)columns(stream) * rows(stream), SAMPLES);
    return stream->shown != NULL;
}

void h264_close(struct h264_stream *stream)
{
    free(stream->shown);
    stream->shown = NULL;
}
