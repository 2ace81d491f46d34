/* The words that say what the web does, what the camera is, and what its features hold. */
#include <string.h>

#include "words.h"

/* ---- the web and its parts ---- */

const char *say_speed(Call *call) {
    int64_t now = now_ns();
    acquisition_catch_up_locked(call->device, now);
    return motion_tell(call->device, call->rest, now);
}

const char *say_parts(Call *call) {
    int64_t pitch, length;
    const char *wrong = whole(call, &pitch, 0, 1 << 30);
    if (wrong) return wrong;
    if (pitch && (wrong = whole(call, &length, 1, pitch - 1))) return wrong;
    call->device->part_pitch = pitch;
    call->device->part_length = pitch ? length : 0;
    return NULL;
}

const char *say_part(Call *call) {
    acquisition_trigger_locked(call->device, SOURCE_LINE0, true, now_ns());
    return NULL;
}

const char *say_trigger(Call *call) {
    acquisition_trigger_locked(call->device, SOURCE_SOFTWARE, true, now_ns());
    return NULL;
}

const char *say_strip(Call *call) {
    if (call->device->acq.running) return "stop the camera first";
    char *path = call->rest + strspn(call->rest, " ");
    if (strcmp(path, "none") == 0) {
        strip_close(&call->device->strip);
        return NULL;
    }
    if (call->device->open) return "close the camera first: another strip is another sensor";
    const char *wrong = strip_open(&call->device->strip, path);
    if (wrong) {
        snprintf(call->reply, call->room, "error: %s %s", path, wrong);
        return call->reply;
    }
    call->device->sensor_width = call->device->strip.width;
    device_power_on_locked(call->device);
    call->device->value[F_WIDTH][0].i = call->device->sensor_width / 4 * 4;
    call->device->initial[F_WIDTH][0].i = call->device->value[F_WIDTH][0].i;
    return NULL;
}

/* ---- what the camera is ---- */

const char *say_sensor_width(Call *call) {
    Device *device = call->device;
    if (device->open) return "close the camera first";
    if (device->strip.map) return "the strip file says how wide the sensor is";
    const char *wrong = whole(call, &device->sensor_width, 16, 65536);
    if (wrong) return wrong;
    device->initial[F_WIDTH][0].i = device->sensor_width / 4 * 4;
    device_power_on_locked(device);
    return NULL;
}

const char *say_max_line_rate(Call *call) {
    return number(call, &call->device->line_rate_max, 1, 1e6);
}

const char *say_devices(Call *call) {
    int64_t value;
    const char *wrong = whole(call, &value, 0, MAX_DEVICES);
    if (wrong) return wrong;
    for (int64_t i = value; i < sim.device_count; i++)
        if (sim.devices[i].open) return "a camera that is open cannot vanish; say lost";
    sim.device_count = (int)value;
    return NULL;
}

const char *say_serial(Call *call) {
    char *word = next_word(call);
    if (!word) return "a serial number is missing";
    if (call->device->open) return "close the camera first";
    snprintf(call->device->serial, sizeof call->device->serial, "%.63s", word);
    snprintf(call->device->value[F_DEVICE_SERIAL_NUMBER][0].text, FEATURE_TEXT, "%.63s", word);
    return NULL;
}

const char *say_clock(Call *call) {
    int64_t offset;
    double drift = 0;
    const char *wrong = whole(call, &offset, 0, INT64_MAX / 4);
    if (!wrong && more(call)) wrong = number(call, &drift, -1e5, 1e5);
    if (wrong) return wrong;
    call->device->clock_offset_ns = offset;
    call->device->clock_drift_ppm = drift;
    return NULL;
}

const char *say_frame_id(Call *call) {
    int64_t first, bits = call->device->frame_id_bits;
    const char *wrong = whole(call, &first, 0, INT64_MAX);
    if (!wrong && more(call)) wrong = whole(call, &bits, 8, 64);
    if (wrong) return wrong;
    call->device->first_frame_id = call->device->acq.frame_id = (uint64_t)first;
    call->device->frame_id_bits = (unsigned)bits;
    return NULL;
}

const char *say_encoder(Call *call) {
    int64_t per_row, bits = call->device->encoder.bits;
    const char *wrong = whole(call, &per_row, 1, 4096);
    if (!wrong && more(call)) wrong = whole(call, &bits, 8, 64);
    if (wrong) return wrong;
    bool each_line = more(call);
    if (each_line && strcmp(call->rest + strspn(call->rest, " "), "lines") != 0)
        return "after the bits: lines, or nothing";
    if (call->device->acq.running) return "stop the camera first";
    if (each_line != call->device->encoder.each_line && call->device->xml)
        return "its description is read already; say it before it is opened";
    call->device->encoder.each_line = each_line;
    call->device->encoder.counts_per_row = per_row;
    call->device->encoder.bits = (unsigned)bits;
    return NULL;
}

/* `set NAME VALUE`: now; `default NAME VALUE`: now and after every power-on. A value may be the
 * name of a choice. */
static const char *set(Call *call, bool for_ever) {
    int id;
    FeatureValue value;
    const char *wrong = feature(call, &id);
    if (wrong) return wrong;
    const FeatureSpec *spec = &feature_specs[id];
    memset(&value, 0, sizeof value);
    if (spec->flags & LOCKED && call->device->acq.running) return "stop the camera first";
    if (spec->type == T_STRING) snprintf(value.text, sizeof value.text, "%s", call->rest);
    else if (spec->type == T_FLOAT) wrong = number(call, &value.f, -1e300, 1e300);
    else if (spec->type == T_COMMAND) value.i = 1;
    else {
        const Choice *choice = spec->choices;
        while (choice && choice->name && strcmp(choice->name, call->rest) != 0) choice++;
        if (choice && choice->name) value.i = choice->value;
        else wrong = whole(call, &value.i, INT64_MIN, INT64_MAX);
    }
    if (wrong) return wrong;
    if (feature_write_locked(call->device, (FeatureId)id, value, false))
        return "the camera does not take this value";
    if (for_ever)
        memcpy(call->device->initial[id], call->device->value[id],
               sizeof call->device->initial[id]);
    return NULL;
}

const char *say_set(Call *call) { return set(call, false); }

const char *say_default(Call *call) { return set(call, true); }

const char *say_get(Call *call) {
    int id;
    FeatureValue value;
    const char *wrong = feature(call, &id);
    if (wrong) return wrong;
    feature_read_locked(call->device, (FeatureId)id, &value);
    if (feature_specs[id].type == T_STRING) snprintf(call->reply, call->room, "ok %s", value.text);
    else if (feature_specs[id].type == T_FLOAT)
        snprintf(call->reply, call->room, "ok %.17g", value.f);
    else snprintf(call->reply, call->room, "ok %lld", (long long)value.i);
    return NULL;
}
