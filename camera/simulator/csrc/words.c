/* The words of the control protocol: `WORD ARGUMENTS`, or `@N WORD ARGUMENTS` for camera N.
 * Each answers `ok`, `ok RESULT` or `error: REASON`. docs/simulator.md explains them all. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

typedef struct {
    Device *device;
    char *rest; /* what follows the word */
    char *reply;
    size_t room;
} Call;

static char *next_word(Call *call) {
    char *word = call->rest + strspn(call->rest, " \t\r");
    char *end = word + strcspn(word, " \t\r");
    call->rest = *end ? end + 1 : end;
    *end = 0;
    return *word ? word : NULL;
}

static const char *number(Call *call, double *value, double low, double high) {
    char *end, *word = next_word(call);
    if (!word) return "a number is missing";
    *value = strtod(word, &end);
    if (*end || !(*value >= low && *value <= high)) return "the number is wrong or out of range";
    return NULL;
}

static const char *whole(Call *call, int64_t *value, int64_t low, int64_t high) {
    char *end, *word = next_word(call);
    if (!word) return "a number is missing";
    errno = 0;
    long long read = strtoll(word, &end, 0);
    if (errno || *end || read < low || read > high) return "the number is wrong or out of range";
    *value = read;
    return NULL;
}

/* How often a fault strikes: a count, `always`, `never`; nothing means once. */
static const char *count(Call *call, int64_t *value) {
    char *word = next_word(call), *end;
    *value = 1;
    if (!word) return NULL;
    if (strcmp(word, "always") == 0) *value = ALWAYS;
    else {
        errno = 0;
        *value = strcmp(word, "never") == 0 ? 0 : strtoll(word, &end, 10);
        if (strcmp(word, "never") != 0 && (errno || *end || *value < 0))
            return "how often? a count, always or never";
    }
    return NULL;
}

/* `truth`, or what is claimed instead. */
static const char *claim(Call *call, int64_t *value, int64_t high) {
    char *word = call->rest + strspn(call->rest, " ");
    if (strcmp(word, "truth") == 0) {
        *value = -1;
        return NULL;
    }
    return whole(call, value, 0, high);
}

static const char *feature(Call *call, int *id) {
    char *word = next_word(call);
    *id = word ? feature_by_name(word) : -1;
    return *id < 0 ? "no feature has this name" : NULL;
}

/* ---- faults of the stream ---- */

static const char *say_drop(Call *call) { return count(call, &call->device->faults.drop); }

static const char *say_incomplete(Call *call) {
    const char *wrong = count(call, &call->device->faults.incomplete);
    if (wrong || !call->rest[strspn(call->rest, " ")]) return wrong;
    return number(call, &call->device->faults.incomplete_percent, 0, 100);
}

static const char *until(Call *call, int64_t *end_ns) {
    double ms;
    if (!call->rest[strspn(call->rest, " ")]) {
        *end_ns = INT64_MAX;
        return NULL;
    }
    const char *wrong = number(call, &ms, 0, 1e9);
    if (!wrong) *end_ns = now_ns() + (int64_t)(ms * (double)NS_PER_MS);
    return wrong;
}

static const char *say_stall(Call *call) {
    return until(call, &call->device->faults.stall_until_ns);
}

static const char *say_freeze(Call *call) {
    return until(call, &call->device->faults.freeze_until_ns);
}

static const char *say_resume(Call *call) {
    call->device->faults.stall_until_ns = call->device->faults.freeze_until_ns = 0;
    return NULL;
}

static const char *say_jitter(Call *call) {
    return number(call, &call->device->faults.jitter_ms, 0, 60000);
}

static const char *say_delay(Call *call) {
    return number(call, &call->device->faults.deliver_ms, 0, 60000);
}

static const char *say_padding(Call *call) {
    if (call->device->acq.running) return "stop the camera first";
    return whole(call, &call->device->faults.padding, 0, 4096);
}

static const char *say_pixel_format(Call *call) {
    char *word = call->rest + strspn(call->rest, " ");
    for (const Choice *choice = feature_specs[F_PIXEL_FORMAT].choices; choice->name; choice++)
        if (strcmp(choice->name, word) == 0) {
            call->device->faults.pixel_format = choice->value;
            return NULL;
        }
    return claim(call, &call->device->faults.pixel_format, UINT32_MAX);
}

static const char *say_height(Call *call) {
    return claim(call, &call->device->faults.height, 1 << 30);
}

static const char *say_width(Call *call) {
    return claim(call, &call->device->faults.width, 1 << 30);
}

static const char *say_payload(Call *call) {
    return claim(call, &call->device->faults.payload_size, INT64_MAX);
}

static const char *say_partial_incomplete(Call *call) {
    int64_t yes = 0;
    const char *wrong = whole(call, &yes, 0, 1);
    call->device->faults.partial_incomplete = yes;
    return wrong;
}

static const char *say_busy_revoke(Call *call) {
    return count(call, &call->device->faults.busy_revoke);
}

static const char *say_start_fails(Call *call) {
    return count(call, &call->device->faults.start_fails);
}

static const char *say_slow_stop(Call *call) {
    return number(call, &call->device->faults.stop_ms, 0, 1e7);
}

/* ---- faults of the device and its registers ---- */

static const char *say_lost(Call *call) {
    Device *device = call->device;
    device->lost_ms = 0;
    if (call->rest[strspn(call->rest, " ")]) {
        const char *wrong = number(call, &device->lost_ms, 0, 60000);
        if (wrong) return wrong;
    }
    if (!device->present) return NULL;
    device->present = false;
    if (!device->open) return NULL;
    device->dead = true;
    acquisition_stop_locked(device);
    event_error_locked(device, GC_ERR_IO, "the camera is lost");
    return NULL;
}

static const char *say_back(Call *call) {
    Device *device = call->device;
    if (device->present) return NULL;
    device->present = true; /* a handle that is still open stays dead: close it, open again */
    device_power_on_locked(device);
    return NULL;
}

static const char *say_slow_registers(Call *call) {
    return number(call, &call->device->faults.slow_ms, 0, 1e7);
}

static const char *say_open(Call *call) {
    char *word = next_word(call);
    if (word && strcmp(word, "ok") == 0) call->device->faults.open = GC_ERR_SUCCESS;
    else if (word && strcmp(word, "denied") == 0) call->device->faults.open = GC_ERR_ACCESS_DENIED;
    else if (word && strcmp(word, "busy") == 0) call->device->faults.open = GC_ERR_RESOURCE_IN_USE;
    else return "say ok, denied or busy";
    return NULL;
}

static const char *say_xml(Call *call) {
    static const char *const names[] = {"ok", "broken", "truncated", "missing", "unreadable"};
    char *word = next_word(call);
    for (int i = 0; word && i < 5; i++)
        if (strcmp(word, names[i]) == 0) {
            call->device->faults.xml = (XmlFault)i;
            return NULL;
        }
    return "say ok, broken, truncated, missing or unreadable";
}

static const char *write_fault(Call *call, WriteFault fault) {
    int id;
    const char *wrong = feature(call, &id);
    if (!wrong && fault == WRITE_ROUND)
        wrong = number(call, &call->device->faults.write_step[id], 1e-6, 1e9);
    if (!wrong) call->device->faults.write[id] = fault;
    return wrong;
}

static const char *say_refuse(Call *call) { return write_fault(call, WRITE_REFUSE); }

static const char *say_keep(Call *call) { return write_fault(call, WRITE_KEEP); }

static const char *say_round(Call *call) { return write_fault(call, WRITE_ROUND); }

static const char *say_obey(Call *call) { return write_fault(call, WRITE_OBEY); }

static const char *say_error(Call *call) {
    const char *text = call->rest[strspn(call->rest, " ")] ? call->rest : "told to report an error";
    event_error_locked(call->device, GC_ERR_ERROR, text);
    return NULL;
}

static const char *say_clear(Call *call) {
    if (call->device->acq.running && call->device->faults.padding)
        return "padding is on; stop the camera first";
    faults_clear(&call->device->faults);
    return NULL;
}

/* ---- the web and its parts ---- */

static const char *say_speed(Call *call) {
    return motion_tell(call->device, call->rest, now_ns());
}

static const char *say_parts(Call *call) {
    int64_t pitch, length;
    const char *wrong = whole(call, &pitch, 0, 1 << 30);
    if (wrong) return wrong;
    if (pitch && (wrong = whole(call, &length, 1, pitch - 1))) return wrong;
    call->device->part_pitch = pitch;
    call->device->part_length = pitch ? length : 0;
    return NULL;
}

static const char *say_part(Call *call) {
    acquisition_trigger_locked(call->device, SOURCE_LINE0, true, now_ns());
    return NULL;
}

static const char *say_trigger(Call *call) {
    acquisition_trigger_locked(call->device, SOURCE_SOFTWARE, true, now_ns());
    return NULL;
}

static const char *say_strip(Call *call) {
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

static const char *say_sensor_width(Call *call) {
    Device *device = call->device;
    if (device->open) return "close the camera first";
    if (device->strip.map) return "the strip file says how wide the sensor is";
    const char *wrong = whole(call, &device->sensor_width, 16, 65536);
    if (wrong) return wrong;
    device->initial[F_WIDTH][0].i = device->sensor_width / 4 * 4;
    device_power_on_locked(device);
    return NULL;
}

static const char *say_max_line_rate(Call *call) {
    return number(call, &call->device->line_rate_max, 1, 1e6);
}

static const char *say_devices(Call *call) {
    int64_t value;
    const char *wrong = whole(call, &value, 0, MAX_DEVICES);
    if (wrong) return wrong;
    for (int64_t i = value; i < sim.device_count; i++)
        if (sim.devices[i].open) return "a camera that is open cannot vanish; say lost";
    sim.device_count = (int)value;
    return NULL;
}

static const char *say_serial(Call *call) {
    char *word = next_word(call);
    if (!word) return "a serial number is missing";
    if (call->device->open) return "close the camera first";
    snprintf(call->device->serial, sizeof call->device->serial, "%.63s", word);
    snprintf(call->device->value[F_DEVICE_SERIAL_NUMBER][0].text, FEATURE_TEXT, "%.63s", word);
    return NULL;
}

static const char *say_clock(Call *call) {
    int64_t offset;
    double drift = 0;
    const char *wrong = whole(call, &offset, 0, INT64_MAX / 4);
    if (!wrong && call->rest[strspn(call->rest, " ")]) wrong = number(call, &drift, -1e5, 1e5);
    if (wrong) return wrong;
    call->device->clock_offset_ns = offset;
    call->device->clock_drift_ppm = drift;
    return NULL;
}

static const char *say_frame_id(Call *call) {
    int64_t first, bits = call->device->frame_id_bits;
    const char *wrong = whole(call, &first, 0, INT64_MAX);
    if (!wrong && call->rest[strspn(call->rest, " ")]) wrong = whole(call, &bits, 8, 64);
    if (wrong) return wrong;
    call->device->first_frame_id = call->device->acq.frame_id = (uint64_t)first;
    call->device->frame_id_bits = (unsigned)bits;
    return NULL;
}

static const char *say_encoder(Call *call) {
    int64_t per_row, bits = call->device->encoder.bits;
    const char *wrong = whole(call, &per_row, 1, 4096);
    if (!wrong && call->rest[strspn(call->rest, " ")]) wrong = whole(call, &bits, 8, 64);
    if (wrong) return wrong;
    if (call->device->acq.running) return "stop the camera first";
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

static const char *say_set(Call *call) { return set(call, false); }

static const char *say_default(Call *call) { return set(call, true); }

static const char *say_get(Call *call) {
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

static const char *say_status(Call *call) {
    memcpy(call->reply, "ok ", 4);
    status_json_locked(call->device, call->reply + 3, call->room - 3);
    return NULL;
}

static const struct {
    const char *word;
    const char *(*say)(Call *call);
} words[] = {
    {"back", say_back},
    {"busy_revoke", say_busy_revoke},
    {"clear", say_clear},
    {"clock", say_clock},
    {"default", say_default},
    {"delay", say_delay},
    {"devices", say_devices},
    {"drop", say_drop},
    {"encoder", say_encoder},
    {"error", say_error},
    {"frame_id", say_frame_id},
    {"freeze", say_freeze},
    {"get", say_get},
    {"height", say_height},
    {"incomplete", say_incomplete},
    {"jitter", say_jitter},
    {"keep", say_keep},
    {"lost", say_lost},
    {"max_line_rate", say_max_line_rate},
    {"obey", say_obey},
    {"open", say_open},
    {"padding", say_padding},
    {"part", say_part},
    {"partial_incomplete", say_partial_incomplete},
    {"parts", say_parts},
    {"payload", say_payload},
    {"pixel_format", say_pixel_format},
    {"refuse", say_refuse},
    {"resume", say_resume},
    {"round", say_round},
    {"sensor_width", say_sensor_width},
    {"serial", say_serial},
    {"set", say_set},
    {"slow_registers", say_slow_registers},
    {"slow_stop", say_slow_stop},
    {"speed", say_speed},
    {"stall", say_stall},
    {"start_fails", say_start_fails},
    {"status", say_status},
    {"strip", say_strip},
    {"trigger", say_trigger},
    {"width", say_width},
    {"xml", say_xml},
};

void obey(char *line, char *reply, size_t room) {
    Call call = {&sim.devices[0], line, reply, room};
    char *word = next_word(&call);
    const char *wrong = NULL;
    snprintf(reply, room, "ok");
    pthread_mutex_lock(&sim.lock);
    if (word && word[0] == '@') {
        char *end;
        long which = strtol(word + 1, &end, 10);
        if (end == word + 1 || *end || which < 0 || which >= MAX_DEVICES)
            wrong = "@N: N is the number of a camera, 0 to 3";
        else {
            call.device = &sim.devices[which];
            word = next_word(&call);
        }
    }
    size_t i = 0, count_words = sizeof words / sizeof *words;
    while (!wrong && word && i < count_words && strcmp(words[i].word, word) != 0) i++;
    if (!wrong && !word) wrong = "say something";
    else if (!wrong && i == count_words) wrong = "unknown word; docs/simulator.md lists them";
    else if (!wrong) wrong = words[i].say(&call);
    pthread_mutex_unlock(&sim.lock);
    if (wrong && wrong != reply) snprintf(reply, room, "error: %s", wrong);
}
