/* The camera's own loop: a thread that wakes every millisecond, works out which lines became due
 * since it last looked, and hands each to frame.c. The clock of the lines is exact: a late thread
 * makes up for what it missed, as a camera with its own memory would. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

#define TICK_NS NS_PER_MS
#define IDLE_TICK_NS (5 * NS_PER_MS)
#define LATE_NS (2 * NS_PER_S)    /* further behind than this, the web is taken to have jumped */
#define CHUNK_NS (4 * NS_PER_MS) /* lines made in one go, so that nobody waits long for the lock */

static bool trigger_on(const Device *device, int selector) {
    return get_selected(device, F_TRIGGER_MODE, selector) == 1;
}

static int64_t delay_ns(const Device *device, int selector) {
    return (int64_t)(device->value[F_TRIGGER_DELAY][selector].f * 1000);
}

/* A signal came: from TriggerSoftware, from the part sensor (Line0), or told from outside. */
void acquisition_trigger_locked(Device *device, int source, bool rising, int64_t at) {
    Acquisition *acq = &device->acq;
    if (!acq->running || device->dead) return;
    for (int selector = 0; selector <= TRIGGER_BURST_START; selector++) {
        int64_t edge = get_selected(device, F_TRIGGER_ACTIVATION, selector);
        if (!trigger_on(device, selector) ||
            get_selected(device, F_TRIGGER_SOURCE, selector) != source)
            continue;
        if (source == SOURCE_SOFTWARE) { /* only the trigger that TriggerSelector points at */
            if (get_i(device, F_TRIGGER_SELECTOR) != selector) continue;
        } else if (edge != ANY_EDGE && (edge == RISING_EDGE) != rising) continue;
        int64_t due = at + delay_ns(device, selector);
        if (selector == TRIGGER_LINE_START) acq->line_pulses++;
        else if (selector == TRIGGER_FRAME_START) {
            if (acq->frame_due || (acq->in_frame && due <= at)) {
                device->counters.frame_trigger_missed++;
                continue;
            }
            acq->frame_due = true;
            acq->frame_due_ns = due;
        } else if (acq->burst_due || acq->burst_left) device->counters.frame_trigger_missed++;
        else {
            acq->burst_due = true;
            acq->burst_due_ns = due;
        }
    }
}

/* The web reached `row`: the edges of the parts that lie between pass the sensor on Line0. */
static void web_at(Device *device, int64_t row, int64_t at) {
    Acquisition *acq = &device->acq;
    int64_t pitch = device->part_pitch, from = acq->row_seen ? acq->seen_row : row - 1;
    acq->seen_row = row;
    acq->row_seen = true;
    if (!pitch || row <= from) return; /* parts are sensed while they come, not while they return */
    if (row - from > pitch) from = row - pitch;
    for (int64_t r = from + 1; r <= row; r++) {
        int64_t place = (r % pitch + pitch) % pitch;
        if (place == 0) acquisition_trigger_locked(device, SOURCE_LINE0, true, at);
        if (place == device->part_length)
            acquisition_trigger_locked(device, SOURCE_LINE0, false, at);
    }
}

static void take(Device *device, int64_t row, int64_t at) {
    if (at < device->faults.freeze_until_ns) return;
    device->acq.last_line_ns = at;
    frame_line_locked(device, row, at);
}

/* With the camera's own clock the encoder only counts; with locked motion it counts the lines. */
static void encoder_follow(Device *device, int64_t until) {
    Encoder *encoder = &device->encoder;
    int64_t per_row = encoder_edges_per_row(device);
    if (!per_row) return;
    double row = device->motion.locked ? (double)device->acq.seen_row : motion_row(device, until);
    int64_t edge = (int64_t)floor(row * (double)per_row);
    if (edge == encoder->edge) return;
    encoder->direction = edge > encoder->edge ? 1 : -1;
    encoder->moved_ns = until;
    encoder->edge = encoder->furthest = edge;
}

/* Lines on the camera's own clock, or one for each pulse told. */
static void free_running(Device *device, int64_t until) {
    Acquisition *acq = &device->acq;
    double rate = motion_speed(device, until);
    bool locked = device->motion.locked;
    if (!locked || trigger_on(device, TRIGGER_LINE_START))
        rate = get_i(device, F_ACQUISITION_LINE_RATE_ENABLE)
                   ? fmin(get_f(device, F_ACQUISITION_LINE_RATE), line_rate_limit(device))
                   : line_rate_limit(device);
    double period = 1e9 / rate;
    for (;;) {
        int64_t at = acq->begun_ns + (int64_t)((double)(acq->lines_since + 1) * period);
        if (at > until || !acq->running) return;
        acq->lines_since++;
        int64_t row = locked ? (acq->row_seen ? acq->seen_row + 1 : 0)
                             : (int64_t)floor(motion_row(device, at));
        web_at(device, row, at);
        encoder_follow(device, at);
        if (trigger_on(device, TRIGGER_LINE_START)) {
            if (!acq->line_pulses) continue;
            acq->line_pulses--;
        }
        take(device, row, at);
    }
}

static int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* Lines that the encoder triggers. What comes faster than the camera can expose is missed. */
static void encoder_driven(Device *device, int64_t from, int64_t until) {
    Acquisition *acq = &device->acq;
    Encoder *encoder = &device->encoder;
    int64_t per_row = encoder_edges_per_row(device);
    double place = motion_row(device, from) * (double)per_row;
    double target = motion_row(device, until) * (double)per_row;
    double pace = (target - place) / (double)(until - from); /* edges a ns: one tick is straight */
    int64_t goal = (int64_t)floor(target + 1e-6), shortest = (int64_t)(1e9 / line_rate_limit(device));
    int direction = goal > encoder->edge ? 1 : -1;
    while (encoder->edge != goal && acq->running) {
        /* The mark between two counts that is crossed now, and when. */
        int64_t mark = direction > 0 ? encoder->edge + 1 : encoder->edge;
        double after = pace == 0 ? 0 : ((double)mark - place) / pace;
        int64_t at = from + (int64_t)fmin(fmax(after, 0), (double)(until - from));
        bool line = encoder_step(device, direction);
        int64_t row = floor_divide(direction > 0 ? encoder->edge - 1 : encoder->edge, per_row);
        encoder->moved_ns = at;
        if (!acq->row_seen || row != acq->seen_row) web_at(device, row, at);
        if (!line) continue;
        if (at + 2 < acq->last_line_ns + shortest) device->counters.line_trigger_missed++;
        else take(device, row, at);
    }
}

static void advance(Device *device, int64_t from, int64_t until) {
    Acquisition *acq = &device->acq;
    bool by_encoder = trigger_on(device, TRIGGER_LINE_START) &&
                      get_selected(device, F_TRIGGER_SOURCE, TRIGGER_LINE_START) ==
                          SOURCE_ENCODER0;
    if (by_encoder && encoder_edges_per_row(device)) encoder_driven(device, from, until);
    else if (!by_encoder) {
        free_running(device, until);
        if (!device->motion.locked) encoder_follow(device, until);
    }
    if (acq->in_frame && get_i(device, F_LINE_TIMEOUT_ENABLE) &&
        until - acq->last_line_ns > (int64_t)(get_f(device, F_LINE_TIMEOUT) * 1000))
        frame_finish_locked(device, until);
}

static void step(Device *device, int64_t now) {
    Acquisition *acq = &device->acq;
    int64_t until = now - acq->seen_ns > CHUNK_NS ? acq->seen_ns + CHUNK_NS : now;
    advance(device, acq->seen_ns, until);
    acq->seen_ns = until;
}

/* Before the web or the line clock is changed: the lines that were due by the old rule. */
void acquisition_catch_up_locked(Device *device, int64_t now) {
    while (device->acq.running && !device->dead && device->acq.seen_ns < now) step(device, now);
}

static void tick(Device *device, int64_t now) {
    Acquisition *acq = &device->acq;
    device->counters.ticks++;
    if (acq->running && !device->dead && now > acq->seen_ns) {
        if (now - acq->seen_ns > LATE_NS) {
            acq->seen_ns = now - TICK_NS;
            acq->begun_ns = acq->seen_ns;
            acq->lines_since = 0;
            device->encoder.edge = (int64_t)floor(motion_row(device, acq->seen_ns) *
                                                  (double)encoder_edges_per_row(device));
        }
        step(device, now);
    }
    frame_deliver_due_locked(device, now);
}

static void *loop(void *of) {
    Device *device = of;
    struct timespec spent;
    pthread_mutex_lock(&sim.lock);
    while (!device->acq.quit) {
        int64_t now = now_ns();
        tick(device, now);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
        device->counters.cpu_ns = (int64_t)spent.tv_sec * NS_PER_S + spent.tv_nsec;
        pthread_mutex_unlock(&sim.lock);
        if (!device->acq.running || device->acq.seen_ns >= now) {
            int64_t pause = device->acq.running ? TICK_NS : IDLE_TICK_NS;
            int64_t next = (now / pause + 1) * pause;
            struct timespec wake = {(time_t)(next / NS_PER_S), (long)(next % NS_PER_S)};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
        }
        pthread_mutex_lock(&sim.lock);
    }
    pthread_mutex_unlock(&sim.lock);
    return NULL;
}

const char *acquisition_thread_start(Device *device) {
    device->acq.quit = false;
    if (pthread_create(&device->acq.thread, NULL, loop, device) != 0)
        return "no thread to be had for it";
    device->acq.thread_runs = true;
    return NULL;
}

/* Lets go of the lock while the thread ends. */
void acquisition_thread_stop_locked(Device *device) {
    if (!device->acq.thread_runs) return;
    device->acq.quit = true;
    device->acq.thread_runs = false;
    pthread_mutex_unlock(&sim.lock);
    pthread_join(device->acq.thread, NULL);
    pthread_mutex_lock(&sim.lock);
}

GC_ERROR acquisition_start_locked(Device *device) {
    Acquisition *acq = &device->acq;
    int64_t now = now_ns();
    if (acq->running) return fail(GC_ERR_BUSY, "the camera is acquiring");
    if (fault_take(&device->faults.start_fails))
        return fail(GC_ERR_IO, "told to fail AcquisitionStart");
    const PixelFormat *format = pixel_format(get_i(device, F_PIXEL_FORMAT));
    const char *wrong = lines_prepare(&acq->lines, &device->strip, format,
                                      get_i(device, F_WIDTH), get_i(device, F_OFFSET_X));
    if (wrong) return fail(GC_ERR_OUT_OF_MEMORY, "%s", wrong);
    int64_t mode = get_i(device, F_ACQUISITION_MODE);
    acq->frames_left = mode == CONTINUOUS     ? -1
                       : mode == SINGLE_FRAME ? 1
                                              : get_i(device, F_ACQUISITION_FRAME_COUNT);
    now = now_ns(); /* preparing the lines took its time */
    acq->in_frame = acq->frame_due = acq->burst_due = false;
    acq->burst_left = acq->line_pulses = 0;
    acq->buffer = -1;
    acq->seen_ns = acq->begun_ns = acq->last_line_ns = now;
    acq->lines_since = 0;
    acq->frame_id = device->first_frame_id;
    if (device->motion.locked) {
        device->motion.begun_row = acq->row_seen ? (double)acq->seen_row + 1 : 0;
        device->motion.begun_ns = now;
        device->encoder.edge = device->encoder.furthest =
            (int64_t)device->motion.begun_row * encoder_edges_per_row(device);
        device->encoder.divided = 0;
    } else {
        device->encoder.edge = device->encoder.furthest =
            (int64_t)floor(motion_row(device, now) * (double)encoder_edges_per_row(device));
    }
    acq->running = true;
    return GC_ERR_SUCCESS;
}

void acquisition_stop_locked(Device *device) {
    if (!device->acq.running) return;
    frame_abandon_locked(device);
    device->acq.running = false;
    lines_free(&device->acq.lines);
}
