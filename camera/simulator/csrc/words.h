/* The words of the control protocol share how they are called and how they read arguments.
 *
 * A word returns NULL, or what is wrong; an answer of its own it writes to call->reply. */
#ifndef KENPIN_WORDS_H
#define KENPIN_WORDS_H

#include "sim.h"

typedef struct {
    Device *device;
    char *rest; /* what follows the word */
    char *reply;
    size_t room;
} Call;

char *next_word(Call *call);
bool more(const Call *call); /* another argument follows */
const char *number(Call *call, double *value, double low, double high);
const char *whole(Call *call, int64_t *value, int64_t low, int64_t high);
const char *feature(Call *call, int *id);

const char *say_drop(Call *call);
const char *say_incomplete(Call *call);
const char *say_stall(Call *call);
const char *say_freeze(Call *call);
const char *say_resume(Call *call);
const char *say_jitter(Call *call);
const char *say_delay(Call *call);
const char *say_padding(Call *call);
const char *say_pixel_format(Call *call);
const char *say_height(Call *call);
const char *say_width(Call *call);
const char *say_payload(Call *call);
const char *say_partial_incomplete(Call *call);
const char *say_busy_revoke(Call *call);
const char *say_start_fails(Call *call);
const char *say_slow_stop(Call *call);
const char *say_lost(Call *call);
const char *say_back(Call *call);
const char *say_slow_registers(Call *call);
const char *say_open(Call *call);
const char *say_xml(Call *call);
const char *say_refuse(Call *call);
const char *say_keep(Call *call);
const char *say_round(Call *call);
const char *say_obey(Call *call);
const char *say_error(Call *call);
const char *say_clear(Call *call);
const char *say_speed(Call *call);
const char *say_parts(Call *call);
const char *say_part(Call *call);
const char *say_trigger(Call *call);
const char *say_strip(Call *call);
const char *say_sensor_width(Call *call);
const char *say_max_line_rate(Call *call);
const char *say_devices(Call *call);
const char *say_serial(Call *call);
const char *say_clock(Call *call);
const char *say_frame_id(Call *call);
const char *say_encoder(Call *call);
const char *say_set(Call *call);
const char *say_default(Call *call);
const char *say_get(Call *call);

#endif
