/* The words that make faults, and those that end them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

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

/* ---- faults of the stream ---- */

const char *say_drop(Call *call) { return count(call, &call->device->faults.drop); }

const char *say_incomplete(Call *call) {
    const char *wrong = count(call, &call->device->faults.incomplete);
    if (wrong || !more(call)) return wrong;
    return number(call, &call->device->faults.incomplete_percent, 0, 100);
}

static const char *until(Call *call, int64_t *end_ns) {
    double ms;
    if (!more(call)) {
        *end_ns = INT64_MAX;
        return NULL;
    }
    const char *wrong = number(call, &ms, 0, 1e9);
    if (!wrong) *end_ns = now_ns() + (int64_t)(ms * (double)NS_PER_MS);
    return wrong;
}

const char *say_stall(Call *call) {
    return until(call, &call->device->faults.stall_until_ns);
}

const char *say_freeze(Call *call) {
    return until(call, &call->device->faults.freeze_until_ns);
}

const char *say_resume(Call *call) {
    call->device->faults.stall_until_ns = call->device->faults.freeze_until_ns = 0;
    return NULL;
}

const char *say_jitter(Call *call) {
    return number(call, &call->device->faults.jitter_ms, 0, 60000);
}

const char *say_delay(Call *call) {
    return number(call, &call->device->faults.deliver_ms, 0, 60000);
}

const char *say_padding(Call *call) {
    if (call->device->acq.running) return "stop the camera first";
    return whole(call, &call->device->faults.padding, 0, 4096);
}

const char *say_pixel_format(Call *call) {
    char *word = call->rest + strspn(call->rest, " ");
    for (const Choice *choice = feature_specs[F_PIXEL_FORMAT].choices; choice->name; choice++)
        if (strcmp(choice->name, word) == 0) {
            call->device->faults.pixel_format = choice->value;
            return NULL;
        }
    return claim(call, &call->device->faults.pixel_format, UINT32_MAX);
}

const char *say_height(Call *call) {
    return claim(call, &call->device->faults.height, 1 << 30);
}

const char *say_width(Call *call) {
    return claim(call, &call->device->faults.width, 1 << 30);
}

const char *say_payload(Call *call) {
    return claim(call, &call->device->faults.payload_size, INT64_MAX);
}

const char *say_partial_incomplete(Call *call) {
    int64_t yes = 0;
    const char *wrong = whole(call, &yes, 0, 1);
    call->device->faults.partial_incomplete = yes;
    return wrong;
}

const char *say_busy_revoke(Call *call) {
    return count(call, &call->device->faults.busy_revoke);
}

const char *say_start_fails(Call *call) {
    return count(call, &call->device->faults.start_fails);
}

const char *say_slow_stop(Call *call) {
    return number(call, &call->device->faults.stop_ms, 0, 1e7);
}

/* ---- faults of the device and its registers ---- */

const char *say_lost(Call *call) {
    Device *device = call->device;
    device->lost_ms = 0;
    if (more(call)) {
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

const char *say_back(Call *call) {
    Device *device = call->device;
    if (device->present) return NULL;
    device->present = true; /* a handle that is still open stays dead: close it, open again */
    device_power_on_locked(device);
    return NULL;
}

const char *say_slow_registers(Call *call) {
    return number(call, &call->device->faults.slow_ms, 0, 1e7);
}

const char *say_open(Call *call) {
    char *word = next_word(call);
    if (word && strcmp(word, "ok") == 0) call->device->faults.open = GC_ERR_SUCCESS;
    else if (word && strcmp(word, "denied") == 0) call->device->faults.open = GC_ERR_ACCESS_DENIED;
    else if (word && strcmp(word, "busy") == 0) call->device->faults.open = GC_ERR_RESOURCE_IN_USE;
    else return "say ok, denied or busy";
    return NULL;
}

const char *say_xml(Call *call) {
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

const char *say_refuse(Call *call) { return write_fault(call, WRITE_REFUSE); }

const char *say_keep(Call *call) { return write_fault(call, WRITE_KEEP); }

const char *say_round(Call *call) { return write_fault(call, WRITE_ROUND); }

const char *say_obey(Call *call) { return write_fault(call, WRITE_OBEY); }

const char *say_error(Call *call) {
    const char *text = more(call) ? call->rest : "told to report an error";
    event_error_locked(call->device, GC_ERR_ERROR, text);
    return NULL;
}

const char *say_clear(Call *call) {
    if (call->device->acq.running && call->device->faults.padding)
        return "padding is on; stop the camera first";
    faults_clear(&call->device->faults);
    return NULL;
}
