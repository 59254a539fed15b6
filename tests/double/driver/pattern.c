/* The picture that a decoder of this double outputs. It is not the decoded picture, but one that can be measured:
 *
 *   luma    rises from left to right, 16 to 235, over the whole width: it shows the columns of a crop
 *   Cb      rises from top to bottom, 16 to 240, over the whole height: it shows the rows of a crop
 *   Cr      neutral
 *   stripe  the bottom eighth shows bars of 128 pixels that move right by 8 pixels per picture: the phase is the
 *           number of the picture modulo 32, which reveals frozen, lost and swapped pictures
 *
 * ../measure.c measures all this. A picture differs little from the previous one, which keeps the streams small.
 */
#include "double.h"

#include <string.h>

enum { DARK = 16, BRIGHT = 200, NEUTRAL = 128, BAR = 128, STEP = 8 };

static void put(uint8_t *row, size_t index, unsigned bytes, unsigned value)
{
    if (bytes == 1) {
        row[index] = (uint8_t)value;
    } else {
        row[2 * index] = 0;
        row[2 * index + 1] = (uint8_t)value;
    }
}

/* Step i of n steps from low to high, rounded. */
static unsigned ramp(unsigned i, unsigned n, unsigned low, unsigned high)
{
    return low + ((high - low) * (2 * i + 1) + n) / (2 * n);
}

void draw_pattern(uint8_t *luma, size_t pitch, unsigned width, unsigned height, unsigned bytes, unsigned picture)
{
    unsigned stripe = height - height / 8;
    for (unsigned x = 0; x < width; x++) {
        unsigned bar = (x + 2 * BAR * STEP - picture % 32 * STEP) / BAR % 2;
        put(luma, x, bytes, ramp(x, width, 16, 235));
        put(luma + stripe * pitch, x, bytes, bar ? BRIGHT : DARK);
    }
    for (unsigned y = 1; y < height; y++)
        if (y != stripe)
            memcpy(luma + y * pitch, luma + (y < stripe ? 0 : stripe) * pitch, (size_t)width * bytes);

    uint8_t *chroma = luma + height * pitch;
    for (unsigned y = 0; y < height / 2; y++) {
        unsigned value = ramp(y, height / 2, 16, 240);
        for (unsigned x = 0; x < width / 2; x++) {
            put(chroma + y * pitch, 2 * x, bytes, value);
            put(chroma + y * pitch, 2 * x + 1, bytes, NEUTRAL);
        }
    }
}
