/* Pixel formats: how samples of 8 to 16 bits lie in memory (PFNC; the two ...Packed formats
 * as GigE Vision defines them). */
#include "sim.h"

static void pack_8(const uint16_t *samples, size_t count, uint8_t *out) {
    for (size_t i = 0; i < count; i++) out[i] = (uint8_t)samples[i];
}

static void pack_16(const uint16_t *samples, size_t count, uint8_t *out) {
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = (uint8_t)samples[i];
        out[2 * i + 1] = (uint8_t)(samples[i] >> 8);
    }
}

/* Mono10p: a stream of bits, least significant first: 4 pixels in 5 bytes. */
static void pack_10p(const uint16_t *samples, size_t count, uint8_t *out) {
    for (size_t i = 0; i + 4 <= count; i += 4, out += 5) {
        uint64_t bits = (uint64_t)samples[i] | (uint64_t)samples[i + 1] << 10 |
                        (uint64_t)samples[i + 2] << 20 | (uint64_t)samples[i + 3] << 30;
        for (int byte = 0; byte < 5; byte++) out[byte] = (uint8_t)(bits >> (8 * byte));
    }
}

/* Mono12p: 2 pixels in 3 bytes, least significant bit first. */
static void pack_12p(const uint16_t *samples, size_t count, uint8_t *out) {
    for (size_t i = 0; i + 2 <= count; i += 2, out += 3) {
        uint32_t bits = (uint32_t)samples[i] | (uint32_t)samples[i + 1] << 12;
        for (int byte = 0; byte < 3; byte++) out[byte] = (uint8_t)(bits >> (8 * byte));
    }
}

/* GigE Vision: the upper 8 bits of each pixel have a byte of their own, the low bits of two
 * pixels share the byte between them. */
static void pack_10_gev(const uint16_t *samples, size_t count, uint8_t *out) {
    for (size_t i = 0; i + 2 <= count; i += 2, out += 3) {
        out[0] = (uint8_t)(samples[i] >> 2);
        out[1] = (uint8_t)((samples[i] & 3) | (samples[i + 1] & 3) << 4);
        out[2] = (uint8_t)(samples[i + 1] >> 2);
    }
}

static void pack_12_gev(const uint16_t *samples, size_t count, uint8_t *out) {
    for (size_t i = 0; i + 2 <= count; i += 2, out += 3) {
        out[0] = (uint8_t)(samples[i] >> 4);
        out[1] = (uint8_t)((samples[i] & 15) | (samples[i + 1] & 15) << 4);
        out[2] = (uint8_t)(samples[i + 1] >> 4);
    }
}

static const PixelFormat formats[] = {
    {"Mono8", 0x01080001, 8, 8, 1, pack_8},
    {"Mono10", 0x01100003, 10, 16, 1, pack_16},
    {"Mono12", 0x01100005, 12, 16, 1, pack_16},
    {"Mono14", 0x01100025, 14, 16, 1, pack_16},
    {"Mono16", 0x01100007, 16, 16, 1, pack_16},
    {"Mono10p", 0x010A0046, 10, 10, 1, pack_10p},
    {"Mono12p", 0x010C0047, 12, 12, 1, pack_12p},
    {"Mono10Packed", 0x010C0004, 10, 12, 1, pack_10_gev},
    {"Mono12Packed", 0x010C0006, 12, 12, 1, pack_12_gev},
    {"BayerGR8", 0x01080008, 8, 8, 1, pack_8},
    {"BayerRG8", 0x01080009, 8, 8, 1, pack_8},
    {"BayerGB8", 0x0108000A, 8, 8, 1, pack_8},
    {"BayerBG8", 0x0108000B, 8, 8, 1, pack_8},
    {"BayerRG10", 0x0110000D, 10, 16, 1, pack_16},
    {"BayerRG12", 0x01100011, 12, 16, 1, pack_16},
    {"BayerRG10Packed", 0x010C0027, 10, 12, 1, pack_10_gev},
    {"BayerRG12Packed", 0x010C002B, 12, 12, 1, pack_12_gev},
    {"RGB8", 0x02180014, 8, 24, 3, pack_8},
    {"BGR8", 0x02180015, 8, 24, 3, pack_8},
};

const PixelFormat *pixel_format(int64_t code) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].code == code) return &formats[i];
    return NULL;
}

size_t line_bytes(const PixelFormat *format, int64_t width) {
    return (size_t)width * format->bits_per_pixel / 8;
}
