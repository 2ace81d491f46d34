/* The words of the control protocol: `WORD ARGUMENTS`, or `@N WORD ARGUMENTS` for camera N.
 * Each answers `ok`, `ok RESULT` or `error: REASON`. docs/simulator.md explains them all. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

char *next_word(Call *call) {
    char *word = call->rest + strspn(call->rest, " \t\r");
    char *end = word + strcspn(word, " \t\r");
    call->rest = *end ? end + 1 : end;
    *end = 0;
    return *word ? word : NULL;
}

bool more(const Call *call) { return call->rest[strspn(call->rest, " ")] != 0; }

const char *number(Call *call, double *value, double low, double high) {
    char *end, *word = next_word(call);
    if (!word) return "a number is missing";
    *value = strtod(word, &end);
    if (*end || !(*value >= low && *value <= high)) return "the number is wrong or out of range";
    return NULL;
}

const char *whole(Call *call, int64_t *value, int64_t low, int64_t high) {
    char *end, *word = next_word(call);
    if (!word) return "a number is missing";
    errno = 0;
    long long read = strtoll(word, &end, 0);
    if (errno || *end || read < low || read > high) return "the number is wrong or out of range";
    *value = read;
    return NULL;
}

const char *feature(Call *call, int *id) {
    char *word = next_word(call);
    *id = word ? feature_by_name(word) : -1;
    return *id < 0 ? "no feature has this name" : NULL;
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
