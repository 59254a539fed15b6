/* Measures the pattern that the double's decoder draws (driver/pattern.c).
 *
 *   ffmpeg -i out.mp4 -f rawvideo -pix_fmt yuv420p - | measure WIDTH HEIGHT SOURCE_WIDTH SOURCE_HEIGHT
 *
 * prints one JSON line per picture: the rectangle of the source that fills it (in source pixels, fitted to all columns
 * and rows, accurate to two pixels), and the source picture's number modulo 32, or null if the stripe with the number
 * is not visible.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct line {
    double origin, slope;
};

/* Least squares over the inner part of the ramp, because rounding flattens its ends. */
static struct line fit(const double *values, int count)
{
    double n = 0, sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0;
    for (int i = count / 20; i < count - count / 20; i++) {
        double x = i + 0.5;
        n++;
        sum_x += x;
        sum_y += values[i];
        sum_xx += x * x;
        sum_xy += x * values[i];
    }
    double slope = (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x);
    return (struct line){(sum_y - slope * sum_x) / n, slope};
}

/* The positions of the output's first and last edge in the source, from a ramp `low`..`high` over `size` pixels. */
static void extent(const double *values, int count, double low, double high, int size, double *start, double *length)
{
    struct line line = fit(values, count);
    *start = (line.origin - low) / (high - low) * size;
    *length = line.slope * count / (high - low) * size;
}

/* The number of a picture, from the first edge between two bars in the stripe's row. */
static int picture_number(const uint8_t *row, int width, double left, double source_pixels)
{
    enum { MIDDLE = 108, BAR = 128, STEP = 8 };
    for (int x = 1; x < width; x++) {
        if ((row[x] > MIDDLE) == (row[x - 1] > MIDDLE))
            continue;
        double edge = left + x * source_pixels / width;
        /* A rising edge is at BAR + 8 n, a falling one at 8 n, both modulo two bars. */
        double phase = row[x] > MIDDLE ? edge - BAR : edge;
        int number = (int)lround(phase / STEP) % (2 * BAR / STEP);
        return number < 0 ? number + 2 * BAR / STEP : number;
    }
    return -1;
}

static void measure(const uint8_t *picture, int width, int height, int source_width, int source_height, double *values)
{
    const uint8_t *luma = picture + (size_t)(height / 2) * width;
    for (int x = 0; x < width; x++)
        values[x] = luma[x];
    double left, across;
    extent(values, width, 16, 235, source_width, &left, &across);

    const uint8_t *cb = picture + (size_t)width * height + width / 4;
    for (int y = 0; y < height / 2; y++)
        values[y] = cb[(size_t)y * (width / 2)];
    double top, down;
    extent(values, height / 2, 16, 240, source_height, &top, &down);

    /* The stripe is the bottom eighth of the source: measure its middle, if that is visible. */
    double row = (source_height * 15.0 / 16.0 - top) / down * height;
    int number = row > 0 && row < height ? picture_number(picture + (size_t)row * width, width, left, across) : -1;

    printf("{\"rect\":[%.1f,%.1f,%.1f,%.1f],\"picture\":", left, top, across, down);
    if (number < 0)
        printf("null}\n");
    else
        printf("%d}\n", number);
}

int main(int count, char **arguments)
{
    if (count != 5) {
        fprintf(stderr, "usage: measure WIDTH HEIGHT SOURCE_WIDTH SOURCE_HEIGHT <raw yuv420p\n");
        return 64;
    }
    int width = atoi(arguments[1]), height = atoi(arguments[2]);
    int source_width = atoi(arguments[3]), source_height = atoi(arguments[4]);
    if (width < 2 || height < 2 || source_width < 2 || source_height < 2)
        return 64;

    size_t size = (size_t)width * height * 3 / 2;
    uint8_t *picture = malloc(size);
    double *values = malloc((size_t)(width > height ? width : height) * sizeof *values);
    while (fread(picture, 1, size, stdin) == size)
        measure(picture, width, height, source_width, source_height, values);
    return 0;
}
