/* The converter kernel of the nvcodec plugin (GStreamer 1.28: GstCudaConverterMain), run on the CPU with the constants
 * that the plugin passes, so that crop, scale and rotation give the same pixels as a GPU.
 *
 * As on a GPU, a texture is read at normalised coordinates, bilinear with 8 bit weights, clamped at the edge; the
 * result is truncated; chroma of 4:2:0 output is sampled at the even luma positions. Formats that the worker's chain
 * does not use are refused, so that a wrong picture is never taken for a correct one.
 */
#include "double.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The kernel's parameter block, as laid out by the plugin. */
struct constants {
    float coefficients[3][3], offset[3], minimum[3], maximum[3];
    int width, height;
    int left, top, right, bottom;
    int view_width, view_height;
    float border[4];
    int fill_border;
    float alpha;
    int blend, convert;
    float u[2], v[2], origin[2]; /* output (0..1) to source (0..1): origin + x * u + y * v */
};

/* The order of the kernel's arguments. */
enum { TEXTURES = 0, PLANES = 4, STRIDE = 8, CHROMA_STRIDE = 9, CONSTANTS = 10, SHIFT_X = 11, SHIFT_Y = 12 };

enum layout { SEMI_PLANAR, PLANAR };

struct format {
    const char *name;
    enum layout layout;
    unsigned bytes; /* of an output sample; the texture has a source's: the plugin reads P010 as NV12 */
    float scale; /* of a stored value to 0..1 beyond its container: 10 bits sit at the low end in I420_10 */
};

static const struct format *find_format(const char *name)
{
    static const struct format formats[] = {
        {"NV12", SEMI_PLANAR, 1, 1},
        {"P010", SEMI_PLANAR, 2, 1},
        {"I420", PLANAR, 1, 1},
        {"I420_10", PLANAR, 2, 64},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

static float texel(const struct texture *texture, long x, long y, unsigned channel)
{
    x = x < 0 ? 0 : x >= (long)texture->width ? (long)texture->width - 1 : x;
    y = y < 0 ? 0 : y >= (long)texture->height ? (long)texture->height - 1 : y;
    const uint8_t *at = texture->data + (size_t)y * texture->pitch +
                        ((size_t)x * texture->channels + channel) * texture->bytes;
    return texture->bytes == 1 ? (float)at[0] / 255.0f : (float)(at[0] | at[1] << 8) / 65535.0f;
}

/* Weights have 8 bits of fraction on the GPU. */
static float weight(float position)
{
    return roundf((position - floorf(position)) * 256.0f) / 256.0f;
}

static float look_up(const struct texture *texture, float u, float v, unsigned channel)
{
    float x = u * (float)texture->width, y = v * (float)texture->height;
    if (!texture->linear)
        return texel(texture, (long)floorf(x), (long)floorf(y), channel);

    x -= 0.5f;
    y -= 0.5f;
    long left = (long)floorf(x), top = (long)floorf(y);
    float across = weight(x), down = weight(y);
    float above = texel(texture, left, top, channel) * (1 - across) + texel(texture, left + 1, top, channel) * across;
    if (down == 0)
        return above;
    float below = texel(texture, left, top + 1, channel) * (1 - across) +
                  texel(texture, left + 1, top + 1, channel) * across;
    return above * (1 - down) + below * down;
}

/* One sample of the source: luma always, chroma on request. */
static void read_source(struct texture *const textures[4], const struct format *source, float u, float v, bool chroma,
                        float sample[3])
{
    sample[0] = look_up(textures[0], u, v, 0) * source->scale;
    if (!chroma)
        return;
    bool planar = source->layout == PLANAR;
    sample[1] = look_up(textures[1], u, v, 0) * source->scale;
    sample[2] = look_up(textures[planar ? 2 : 1], u, v, planar ? 0 : 1) * source->scale;
}

static void convert(const struct constants *constants, float sample[3])
{
    float result[3];
    for (int row = 0; row < 3; row++) {
        result[row] = constants->offset[row];
        for (int column = 0; column < 3; column++)
            result[row] += constants->coefficients[row][column] * sample[column];
        /* The kernel bounds the third by the second's minimum and both by the third's maximum. */
        float low = constants->minimum[row == 0 ? 0 : 1], high = constants->maximum[row == 0 ? 0 : 2];
        result[row] = fmaxf(low, fminf(result[row], high));
    }
    memcpy(sample, result, sizeof result);
}

static void store(uint8_t *at, unsigned bytes, float value)
{
    /* Truncated as on the GPU, with a small margin: there n/255*255 is n, here it may be slightly less. */
    if (bytes == 1) {
        *at = (uint8_t)(value * 255.0f + 1e-3f);
    } else {
        uint16_t wide = (uint16_t)(value * 65535.0f + 1e-3f);
        memcpy(at, &wide, sizeof wide);
    }
}

struct output {
    const struct format *format;
    uint8_t *planes[3];
    int stride, chroma_stride;
};

static void write_output(const struct output *output, int x, int y, const float sample[3], bool chroma)
{
    int bytes = (int)output->format->bytes;
    store(output->planes[0] + (long)y * output->stride + x * bytes, output->format->bytes, sample[0]);
    if (!chroma)
        return;

    long row = (long)(y / 2) * output->chroma_stride;
    if (output->format->layout == SEMI_PLANAR) {
        store(output->planes[1] + row + x * bytes, output->format->bytes, sample[1]);
        store(output->planes[1] + row + (x + 1) * bytes, output->format->bytes, sample[2]);
    } else {
        store(output->planes[1] + row + x / 2 * bytes, output->format->bytes, sample[1]);
        store(output->planes[2] + row + x / 2 * bytes, output->format->bytes, sample[2]);
    }
}

static void draw(const struct constants *constants, struct texture *const textures[4], const struct format *source,
                 const struct output *output)
{
    for (int y = 0; y < constants->height; y++) {
        for (int x = 0; x < constants->width; x++) {
            bool chroma = x % 2 == 0 && y % 2 == 0;
            float sample[3];
            if (x < constants->left || x >= constants->right || y < constants->top || y >= constants->bottom) {
                if (!constants->fill_border)
                    continue;
                memcpy(sample, constants->border, sizeof sample);
            } else {
                float across = ((float)(x - constants->left) + 0.5f) / (float)constants->view_width;
                float down = ((float)(y - constants->top) + 0.5f) / (float)constants->view_height;
                if (across < 0 || across > 1 || down < 0 || down > 1)
                    continue;
                float u = across * constants->u[0] + down * constants->v[0] + constants->origin[0];
                float v = across * constants->u[1] + down * constants->v[1] + constants->origin[1];
                read_source(textures, source, u, v, chroma || constants->convert, sample);
                if (constants->convert)
                    convert(constants, sample);
            }
            write_output(output, x, y, sample, chroma);
        }
    }
}

/* The common case - a rectangle is scaled to the whole output, with quarter turns at most, without conversion - with
 * integer tables of the positions that each output column and row reads: ten times as fast, and the same pixels except
 * for the rounding of exact halves. */

struct tap {
    size_t first, second; /* a column, or the offset of a row */
    unsigned weight; /* of the second, in 256ths */
};

/* The source positions that every `step`th output position along one axis reads. */
static void fill_taps(struct tap *taps, int count, int step, int view, float scale, float origin, size_t size,
                      size_t spread, bool linear)
{
    for (int i = 0; i < count; i++) {
        float position = (((float)(i * step) + 0.5f) / (float)view * scale + origin) * (float)size;
        if (linear)
            position -= 0.5f;
        long first = (long)floorf(position), second = first + 1, last = (long)size - 1;
        taps[i].first = spread * (size_t)(first < 0 ? 0 : first > last ? last : first);
        taps[i].second = spread * (size_t)(second < 0 ? 0 : second > last ? last : second);
        taps[i].weight = linear ? (unsigned)(weight(position) * 256.0f) : 0;
    }
}

static inline unsigned load(const uint8_t *at, unsigned bytes)
{
    return bytes == 1 ? at[0] : (unsigned)at[0] | (unsigned)at[1] << 8;
}

static inline unsigned blend(const uint8_t *from, const struct tap *across, const struct tap *down, unsigned bytes)
{
    const uint8_t *above = from + down->first, *below = from + down->second;
    uint64_t upper = load(above + across->first, bytes) * (256 - across->weight) +
                     load(above + across->second, bytes) * across->weight;
    uint64_t lower = load(below + across->first, bytes) * (256 - across->weight) +
                     load(below + across->second, bytes) * across->weight;
    return (unsigned)((upper * (256 - down->weight) + lower * down->weight) >> 16);
}

/* One channel of a texture into one channel of a plane. */
struct scaling {
    const uint8_t *from;
    const struct tap *across, *down; /* columns and rows of the source */
    int width, height; /* of the plane */
    uint8_t *out;
    int stride;
    unsigned spread; /* bytes from one sample of the plane to the next */
};

/* Inlined for each pair of constants, because its branches would cost more than the sums. */
static inline __attribute__((always_inline)) void scale_plane(const struct scaling *plane, unsigned bytes, bool turned)
{
    for (int y = 0; y < plane->height; y++) {
        uint8_t *out = plane->out + (long)y * plane->stride;
        for (int x = 0; x < plane->width; x++, out += plane->spread) {
            const struct tap *across = plane->across + (turned ? y : x), *down = plane->down + (turned ? x : y);
            unsigned value = blend(plane->from, across, down, bytes);
            out[0] = (uint8_t)value;
            if (bytes == 2)
                out[1] = (uint8_t)(value >> 8);
        }
    }
}

static bool is_turned(const struct constants *constants)
{
    return constants->u[0] == 0 && constants->v[1] == 0;
}

static void scale_channel(const struct constants *constants, const struct texture *texture, unsigned channel, int step,
                          uint8_t *out, int stride, unsigned spread)
{
    bool turned = is_turned(constants);
    int width = (constants->width + step - 1) / step, height = (constants->height + step - 1) / step;
    int view_across = turned ? constants->view_height : constants->view_width;
    int view_down = turned ? constants->view_width : constants->view_height;
    int count_across = turned ? height : width, count_down = turned ? width : height;
    struct tap *across = malloc((size_t)(width + height) * sizeof *across), *down = across + count_across;

    fill_taps(across, count_across, step, view_across, turned ? constants->v[0] : constants->u[0], constants->origin[0],
              texture->width, (size_t)texture->channels * texture->bytes, texture->linear);
    fill_taps(down, count_down, step, view_down, turned ? constants->u[1] : constants->v[1], constants->origin[1],
              texture->height, texture->pitch, texture->linear);

    struct scaling plane = {texture->data + channel * texture->bytes, across, down, width, height, out, stride,
                            spread * texture->bytes};
    if (texture->bytes == 1 && turned)
        scale_plane(&plane, 1, true);
    else if (texture->bytes == 1)
        scale_plane(&plane, 1, false);
    else if (turned)
        scale_plane(&plane, 2, true);
    else
        scale_plane(&plane, 2, false);
    free(across);
}

static bool is_plain_scaling(const struct constants *constants, const struct texture *luma,
                             const struct format *source, const struct format *target)
{
    bool straight = constants->u[1] == 0 && constants->v[0] == 0;
    return (straight || is_turned(constants)) && !constants->convert && source->scale == 1 &&
           luma->bytes == target->bytes && constants->left == 0 && constants->top == 0 &&
           constants->right == constants->width && constants->bottom == constants->height;
}

static void draw_scaled(const struct constants *constants, struct texture *const textures[4],
                        const struct format *source, const struct output *output)
{
    bool planar = source->layout == PLANAR, planar_output = output->format->layout == PLANAR;
    unsigned bytes = output->format->bytes, spread = planar_output ? 1 : 2;
    uint8_t *second = planar_output ? output->planes[2] : output->planes[1] + bytes;

    scale_channel(constants, textures[0], 0, 1, output->planes[0], output->stride, 1);
    scale_channel(constants, textures[1], 0, 2, output->planes[1], output->chroma_stride, spread);
    scale_channel(constants, textures[planar ? 2 : 1], planar ? 0 : 1, 2, second, output->chroma_stride, spread);
}

/* The rectangle of the source that is read, in its pixels. For rotated pictures these two terms do not suffice, so the
 * transform is logged, too. */
static void log_launch(const struct kernel *kernel, const struct constants *constants, const struct texture *luma)
{
    double width = (double)luma->width, height = (double)luma->height;
    record_once("{\"call\":\"kernel\",\"from\":\"%s%s\",\"to\":\"%s\",\"source_size\":[%zu,%zu],"
                "\"source_rect\":[%.2f,%.2f,%.2f,%.2f],\"size\":[%d,%d],\"target_rect\":[%d,%d,%d,%d],"
                "\"transform\":[%g,%g,%g,%g,%g,%g],\"filter\":\"%s\",\"convert\":%s,\"borders\":%s}",
                kernel->sampler, luma->bytes == 2 ? " 16 bit" : "", kernel->output, luma->width, luma->height,
                constants->origin[0] * width, constants->origin[1] * height,
                (constants->u[0] + constants->v[0]) * width,
                (constants->u[1] + constants->v[1]) * height, constants->width, constants->height, constants->left,
                constants->top, constants->right - constants->left, constants->bottom - constants->top, constants->u[0],
                constants->u[1], constants->v[0], constants->v[1], constants->origin[0], constants->origin[1],
                luma->linear ? "linear" : "nearest", constants->convert ? "true" : "false",
                constants->fill_border ? "true" : "false");
}

static int refuse(const struct kernel *kernel, const char *why)
{
    record_once("{\"call\":\"kernel\",\"function\":\"%s\",\"from\":\"%s\",\"to\":\"%s\",\"refused\":\"%s\"}",
                kernel->function, kernel->sampler, kernel->output, why);
    return CUDA_RESULT_NOT_SUPPORTED;
}

int run_kernel(const struct kernel *kernel, void **arguments)
{
    if (strcmp(kernel->function, "GstCudaConverterMain") != 0)
        return refuse(kernel, "this kernel is not emulated");

    const struct format *source = find_format(kernel->sampler), *target = find_format(kernel->output);
    if (source == NULL || target == NULL || target->scale != 1)
        return refuse(kernel, "this format is not emulated");

    const struct constants *constants = arguments[CONSTANTS];
    if (constants->blend || *(int *)arguments[SHIFT_X] != 0 || *(int *)arguments[SHIFT_Y] != 0)
        return refuse(kernel, "blending and partial launches are not emulated");

    struct texture *textures[4];
    struct output output = {
        .format = target,
        .stride = *(int *)arguments[STRIDE],
        .chroma_stride = *(int *)arguments[CHROMA_STRIDE],
    };
    for (int i = 0; i < 4; i++)
        textures[i] = *(struct texture **)arguments[TEXTURES + i];
    for (int i = 0; i < 3; i++)
        output.planes[i] = *(uint8_t **)arguments[PLANES + i];

    log_launch(kernel, constants, textures[0]);
    if (is_plain_scaling(constants, textures[0], source, target))
        draw_scaled(constants, textures, source, &output);
    else
        draw(constants, textures, source, &output);
    return 0;
}
