/* How the web moves and what the encoder makes of it.
 *
 * The web's place is counted in rows. A profile gives its speed in rows a second, piece by piece;
 * without a profile the web follows the camera's own line rate, so that one line is one row. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static double locked_speed(const Device *device) {
    return get_i(device, F_ACQUISITION_LINE_RATE_ENABLE)
               ? fmin(get_f(device, F_ACQUISITION_LINE_RATE), line_rate_limit(device))
               : line_rate_limit(device);
}

/* Rows travelled and speed after `at` ns of one segment. */
static double travelled(const Segment *segment, int64_t at) {
    double s = (double)at / 1e9;
    double slope = segment->duration_ns > 0
                       ? (segment->to - segment->from) / ((double)segment->duration_ns / 1e9)
                       : 0;
    return segment->from * s + slope * s * s / 2;
}

static double walk(const Motion *motion, int64_t at, double *speed) {
    double rows = 0, lap = 0;
    int64_t lap_ns = 0;
    for (int i = 0; i < motion->count; i++) {
        lap += travelled(&motion->segment[i], motion->segment[i].duration_ns);
        lap_ns += motion->segment[i].duration_ns;
    }
    if (motion->repeat && lap_ns > 0) {
        rows = lap * (double)(at / lap_ns);
        at %= lap_ns;
    }
    for (int i = 0; i < motion->count; i++) {
        const Segment *segment = &motion->segment[i];
        if (at < segment->duration_ns) {
            *speed = segment->from + (segment->to - segment->from) * (double)at /
                                         (double)segment->duration_ns;
            return rows + travelled(segment, at);
        }
        rows += travelled(segment, segment->duration_ns);
        at -= segment->duration_ns;
        *speed = segment->to;
    }
    return rows + *speed * (double)at / 1e9; /* after the last piece its speed stays */
}

double motion_row(const Device *device, int64_t now) {
    const Motion *motion = &device->motion;
    double speed = 0, since = (double)(now - motion->begun_ns) / 1e9;
    if (motion->locked) return motion->begun_row + since * locked_speed(device);
    return motion->begun_row + walk(motion, now - motion->begun_ns, &speed);
}

double motion_speed(const Device *device, int64_t now) {
    double speed = 0;
    if (device->motion.locked) return locked_speed(device);
    walk(&device->motion, now - device->motion.begun_ns, &speed);
    return speed;
}

/* The line rate changed: go on from the row where the web is. */
void motion_restart_locked(Device *device, int64_t now, double row) {
    Acquisition *acq = &device->acq;
    if (device->motion.locked) {
        device->motion.begun_row = row;
        device->motion.begun_ns = now;
    }
    acq->begun_ns = now;
    acq->lines_since = 0;
}

/* `locked`, a speed, or a profile of DURATION_MS:SPEED and DURATION_MS:FROM..TO, then `loop`. */
const char *motion_tell(Device *device, char *words, int64_t now) {
    Motion next = {.begun_ns = now, .begun_row = motion_row(device, now)};
    char *rest = NULL;
    for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        if (strcmp(word, "locked") == 0) {
            next.locked = true;
            next.begun_row = floor(next.begun_row);
            continue;
        }
        if (strcmp(word, "loop") == 0) {
            next.repeat = true;
            continue;
        }
        if (next.count == MAX_SEGMENTS) return "more than 64 pieces";
        Segment *segment = &next.segment[next.count++];
        char *end, *colon = strchr(word, ':');
        if (colon) {
            double ms = strtod(word, &end);
            if (end != colon || !(ms > 0 && ms < 1e9)) return "a piece is MS:SPEED or MS:FROM..TO";
            segment->duration_ns = (int64_t)(ms * (double)NS_PER_MS);
            word = colon + 1;
        }
        char *to = strstr(word, "..");
        if (to) *to = 0; /* or strtod would read "0..9" as "0." and ".9" */
        segment->from = segment->to = strtod(word, &end);
        if (end == word || *end) return "a speed is a number of rows a second";
        if (to) segment->to = strtod(to + 2, &end);
        if (end == to || *end || fabs(segment->from) > 1e7 || fabs(segment->to) > 1e7)
            return "a speed is a number of rows a second";
    }
    if (!next.count && !next.locked) return "say locked, a speed, or MS:SPEED pieces";
    device->motion = next;
    return NULL;
}

/* Quadrature edges a row: `counts_per_row` full cycles are counted in FourPhase mode, each of
 * their four phases in HighResolution mode. */
int64_t encoder_edges_per_row(const Device *device) {
    if (!get_i(device, F_ENCODER_SOURCE_A) || !get_i(device, F_ENCODER_SOURCE_B)) return 0;
    return device->encoder.counts_per_row *
           (get_i(device, F_ENCODER_MODE) == HIGH_RESOLUTION ? 4 : 1);
}

/* EncoderValue: the counter since its last reset, wrapped to its number of bits. */
int64_t encoder_value(const Device *device) {
    uint64_t value = (uint64_t)(device->encoder.edge - device->encoder.zero);
    unsigned bits = device->encoder.bits;
    if (bits >= 63) return (int64_t)value;
    value &= (1ull << bits) - 1;
    return (int64_t)value;
}

/* One count forwards (+1) or backwards (-1). True if it makes a line trigger. */
bool encoder_step(Device *device, int direction) {
    Encoder *encoder = &device->encoder;
    bool pulse = false;
    encoder->edge += direction;
    encoder->direction = direction;
    switch (get_i(device, F_ENCODER_OUTPUT_MODE)) {
    case POSITION_UP:
        if ((pulse = encoder->edge > encoder->furthest)) encoder->furthest = encoder->edge;
        break;
    case POSITION_DOWN:
        if ((pulse = encoder->edge < encoder->furthest)) encoder->furthest = encoder->edge;
        break;
    case DIRECTION_UP: pulse = direction > 0; break;
    case DIRECTION_DOWN: pulse = direction < 0; break;
    case MOTION: pulse = true; break;
    default: break;
    }
    if (!pulse || ++encoder->divided < get_i(device, F_ENCODER_DIVIDER)) return false;
    encoder->divided = 0;
    return true;
}
