/* The material under the camera: a strip read from a PGM or PPM file, or a built-in pattern in
 * which every row carries its own number. Lines are prepared once, in the pixel format that was
 * asked for; while the camera runs a line costs one memcpy. */
#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim.h"

#define PREPARED_MAX ((size_t)1 << 30)
#define STAMP_EVERY 64 /* columns from one copy of the row number to the next */
#define STAMP_PIXELS 8 /* its bytes, least significant first, one a pixel */
#define DARK 8         /* of 255: what lies between two parts */

/* One number of a PNM header; comments run from # to the end of the line. */
static const uint8_t *header_number(const uint8_t *at, const uint8_t *end, int64_t *number) {
    while (at < end && (isspace(*at) || *at == '#')) {
        if (*at == '#')
            while (at < end && *at != '\n') at++;
        else
            at++;
    }
    if (at >= end || !isdigit(*at)) return NULL;
    *number = 0;
    while (at < end && isdigit(*at) && *number < 1000000000) *number = *number * 10 + (*at++ - '0');
    return at;
}

static const char *header_read(Strip *strip) {
    const uint8_t *at = strip->map, *end = at + strip->map_bytes;
    int64_t most = 0;
    if (strip->map_bytes < 8 || at[0] != 'P' || (at[1] != '5' && at[1] != '6'))
        return "is no binary PGM (P5) or PPM (P6) file";
    strip->channels = at[1] == '5' ? 1 : 3;
    at += 2;
    if (!(at = header_number(at, end, &strip->width)) ||
        !(at = header_number(at, end, &strip->rows)) || !(at = header_number(at, end, &most)) ||
        at >= end)
        return "has a broken header";
    strip->pixels = at + 1; /* one white space after the greatest value */
    for (strip->bits = 8; strip->bits < 16 && most >> strip->bits; strip->bits++) {
    }
    if (most < 1 || most >> strip->bits) return "has a greatest value outside 1 to 65535";
    if (strip->width < 16 || strip->rows < 1) return "is narrower than 16 pixels or has no rows";
    size_t sample = strip->bits > 8 ? 2 : 1;
    size_t need = (size_t)strip->width * (size_t)strip->rows * strip->channels * sample;
    if ((size_t)(end - strip->pixels) < need) return "is shorter than its header says";
    return NULL;
}

const char *strip_open(Strip *strip, const char *path) {
    strip_close(strip);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat facts;
    if (file < 0) return "cannot be opened";
    if (fstat(file, &facts) != 0 || facts.st_size < 8) {
        close(file);
        return "is too short";
    }
    void *map = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (map == MAP_FAILED) return "cannot be mapped";
    strip->map = map;
    strip->map_bytes = (size_t)facts.st_size;
    const char *wrong = header_read(strip);
    if (wrong) {
        strip_close(strip);
        return wrong;
    }
    snprintf(strip->path, sizeof strip->path, "%s", path);
    return NULL;
}

void strip_close(Strip *strip) {
    if (strip->map) munmap((void *)strip->map, strip->map_bytes);
    memset(strip, 0, sizeof *strip);
}

/* One sample of the strip with `bits` bits. */
static unsigned strip_sample(const Strip *strip, int64_t row, int64_t column, unsigned channel,
                             unsigned bits) {
    size_t at = ((size_t)row * (size_t)strip->width + (size_t)column) * strip->channels + channel;
    unsigned value = strip->bits > 8
                         ? (unsigned)strip->pixels[2 * at] << 8 | strip->pixels[2 * at + 1]
                         : strip->pixels[at];
    return bits >= strip->bits ? value << (bits - strip->bits) : value >> (strip->bits - bits);
}

/* The built-in texture; camera/simulator/pattern.py says the same in Python. */
static unsigned pattern_sample(int64_t row, int64_t column, unsigned channel, unsigned bits) {
    unsigned shift = bits - 8;
    unsigned level = 64 + ((unsigned)(column * 3 + row * 5 + channel * 40) & 127);
    return level << shift | ((unsigned)(column ^ row) & ((1u << shift) - 1));
}

/* The colour that a Bayer mosaic has at a place: GR, RG, GB, BG name its upper left corner. */
static unsigned bayer_channel(const PixelFormat *format, int64_t row, int64_t column) {
    static const unsigned mosaic[4][4] = {{1, 0, 2, 1}, {0, 1, 1, 2}, {1, 2, 0, 1}, {2, 1, 1, 0}};
    return mosaic[format->code - 0x01080008][(row & 1) * 2 + (column & 1)];
}

static unsigned sample(const Strip *strip, const PixelFormat *format, int64_t row, int64_t column,
                       unsigned channel) {
    bool bayer = format->code >= 0x01080008 && format->code <= 0x0108000B;
    if (format->code == 0x02180015) channel = 2 - channel; /* BGR8 */
    if (!strip->map) return pattern_sample(row, column, channel, format->bits);
    if (bayer && strip->channels == 3) channel = bayer_channel(format, row, column);
    if (strip->channels == 1) channel = 0;
    else if (format->channels == 1 && !bayer) channel = 1; /* a mono camera sees the green */
    return strip_sample(strip, row, column, channel, format->bits);
}

const char *lines_prepare(Lines *lines, const Strip *strip, const PixelFormat *format,
                          int64_t width, int64_t offset_x) {
    lines_free(lines);
    lines->format = format;
    lines->width = width;
    lines->offset_x = offset_x;
    lines->numbered = !strip->map;
    lines->period = strip->map ? strip->rows : PATTERN_PERIOD;
    lines->bytes = lines->stride = line_bytes(format, width);
    size_t samples = (size_t)width * format->channels;
    uint16_t *one = malloc(samples * sizeof *one);
    lines->dark = malloc(lines->bytes);
    if (!one || !lines->dark) {
        free(one);
        return "out of memory";
    }
    for (size_t i = 0; i < samples; i++) one[i] = (uint16_t)(DARK << (format->bits - 8));
    format->pack(one, samples, lines->dark);
    if (strip->map && strip->bits == 8 && format->bits_per_pixel == 8 && strip->channels == 1) {
        lines->rows = strip->pixels + offset_x; /* no copy: the file is the prepared lines */
        lines->stride = (size_t)strip->width;
        free(one);
        return NULL;
    }
    if (lines->bytes * (size_t)lines->period > PREPARED_MAX) {
        free(one);
        return "the strip needs more than 1 GiB in this pixel format; shorten it";
    }
    lines->owned = malloc(lines->bytes * (size_t)lines->period);
    lines->rows = lines->owned;
    for (int64_t row = 0; lines->owned && row < lines->period; row++) {
        for (int64_t x = 0; x < width; x++)
            for (unsigned channel = 0; channel < format->channels; channel++)
                one[(size_t)x * format->channels + channel] =
                    (uint16_t)sample(strip, format, row, x + offset_x, channel);
        format->pack(one, samples, lines->owned + (size_t)row * lines->bytes);
    }
    free(one);
    return lines->owned ? NULL : "out of memory";
}

void lines_free(Lines *lines) {
    free(lines->owned);
    free(lines->dark);
    memset(lines, 0, sizeof *lines);
}

/* Writes the row's number into the line, in every block of 64 columns that fits whole. */
static void stamp(const Lines *lines, int64_t row, uint8_t *out) {
    const PixelFormat *format = lines->format;
    uint16_t samples[STAMP_PIXELS * 3];
    uint8_t packed[STAMP_PIXELS * 3];
    for (unsigned i = 0; i < STAMP_PIXELS; i++)
        for (unsigned channel = 0; channel < format->channels; channel++)
            samples[i * format->channels + channel] =
                (uint16_t)(((uint64_t)row >> (8 * i) & 255) << (format->bits - 8));
    format->pack(samples, STAMP_PIXELS * format->channels, packed);
    size_t bytes = line_bytes(format, STAMP_PIXELS);
    int64_t first = (lines->offset_x + STAMP_EVERY - 1) / STAMP_EVERY * STAMP_EVERY;
    for (int64_t x = first - lines->offset_x; x + STAMP_PIXELS <= lines->width; x += STAMP_EVERY)
        memcpy(out + line_bytes(format, x), packed, bytes);
}

void lines_copy(const Lines *lines, int64_t row, bool dark, uint8_t *out) {
    int64_t place = row % lines->period;
    if (place < 0) place += lines->period;
    memcpy(out, dark ? lines->dark : lines->rows + (size_t)place * lines->stride, lines->bytes);
    if (lines->numbered) stamp(lines, row, out);
}
