/* What the files of the simulator share: the state of the producer and of each camera.
 *
 * One mutex, `sim.lock`, guards all of it. Functions named ..._locked expect the caller to hold it.
 */
#ifndef KENPIN_SIM_H
#define KENPIN_SIM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "features.h"
#include "gentl.h"

#define MAX_DEVICES 4
#define MAX_BUFFERS 1024
#define MAX_CHUNKS 5
#define MAX_SEGMENTS 64
#define MAX_ERRORS 16
#define PATTERN_PERIOD 128 /* rows after which the built-in texture repeats (not its numbers) */
#define NS_PER_S 1000000000LL
#define NS_PER_MS 1000000LL
#define NS_PER_US 1000LL
#define ALWAYS (-1) /* a fault with this count never runs out */

/* ---- handles.c: opaque numbers, never pointers, so that a stale one is always recognised ---- */

typedef enum {
    KIND_SYSTEM = 1,
    KIND_INTERFACE,
    KIND_DEVICE,
    KIND_REMOTE,
    KIND_STREAM,
    KIND_BUFFER,
    KIND_EVENT
} Kind;

void *handle_make(Kind kind, unsigned device, unsigned index, uint32_t generation);
Kind handle_kind(const void *handle);
unsigned handle_device(const void *handle);
unsigned handle_index(const void *handle);
uint32_t handle_generation(const void *handle);

/* ---- errors and answers (answer.c) ---- */

GC_ERROR fail(GC_ERROR code, const char *format, ...) __attribute__((format(printf, 2, 3)));
GC_ERROR answer_text(const char *text, ASK);
GC_ERROR answer_bytes(INFO_DATATYPE is, const void *value, size_t length, ASK);
GC_ERROR answer_i32(INFO_DATATYPE is, int32_t value, ASK);
GC_ERROR answer_u64(uint64_t value, ASK);
GC_ERROR answer_size(size_t value, ASK);
GC_ERROR answer_bool(bool value, ASK);
GC_ERROR answer_pointer(void *value, ASK);

/* ---- pixels.c: how a line of samples looks in memory ---- */

typedef struct {
    const char *name;
    uint32_t code; /* PFNC */
    unsigned bits; /* of one sample: 8, 10, 12 */
    unsigned bits_per_pixel;
    unsigned channels;
    void (*pack)(const uint16_t *samples, size_t count, uint8_t *out);
} PixelFormat;

const PixelFormat *pixel_format(int64_t code);
size_t line_bytes(const PixelFormat *format, int64_t width);

/* ---- web.c: the material under the camera ---- */

typedef struct {
    char path[512];
    const uint8_t *map; /* the whole file, mapped; NULL: the built-in pattern */
    size_t map_bytes;
    const uint8_t *pixels;
    int64_t width, rows;
    unsigned bits, channels;
} Strip;

typedef struct {
    const PixelFormat *format;
    int64_t width, offset_x, period; /* period: rows after which `rows` repeats */
    size_t bytes;                    /* of one line */
    size_t stride;                   /* from one prepared line to the next */
    uint8_t *owned;                  /* prepared lines; NULL when `rows` lies in the strip's map */
    const uint8_t *rows;
    uint8_t *dark;    /* what is seen between two parts */
    bool numbered;    /* built-in pattern: the row's number is stamped into it */
} Lines;

const char *strip_open(Strip *strip, const char *path); /* NULL or what is wrong */
void strip_close(Strip *strip);
const char *lines_prepare(Lines *lines, const Strip *strip, const PixelFormat *format,
                          int64_t width, int64_t offset_x);
void lines_free(Lines *lines);
void lines_copy(const Lines *lines, int64_t row, bool dark, uint8_t *out);

/* ---- encoder.c: how the web moves, and what the encoder makes of it ---- */

typedef struct {
    int64_t duration_ns;
    double from, to; /* rows per second; negative: backwards */
} Segment;

typedef struct {
    bool locked; /* no profile told: the web follows the camera's line rate, one row a line */
    bool repeat;
    int count;
    Segment segment[MAX_SEGMENTS];
    int64_t begun_ns;
    double begun_row;
} Motion;

typedef struct {
    int64_t edge;     /* the last quadrature count seen */
    int64_t zero;     /* edge at the last EncoderReset */
    int64_t furthest; /* for the Position output modes */
    int64_t divided;  /* pulses since the last line trigger */
    int64_t moved_ns;
    int direction;
    unsigned bits;
    int64_t counts_per_row;
    bool each_line; /* ChunkEncoderValue holds a value for every line of the frame */
} Encoder;

struct Device;
double motion_row(const struct Device *device, int64_t now_ns);
double motion_speed(const struct Device *device, int64_t now_ns);
void motion_restart_locked(struct Device *device, int64_t now_ns, double row);
const char *motion_tell(struct Device *device, char *words, int64_t now_ns);
int64_t encoder_edges_per_row(const struct Device *device);
int64_t encoder_value(const struct Device *device);
bool encoder_step(struct Device *device, int direction);

/* ---- faults.c ---- */

typedef enum { XML_OK, XML_BROKEN, XML_TRUNCATED, XML_MISSING, XML_UNREADABLE } XmlFault;
typedef enum { WRITE_OBEY, WRITE_REFUSE, WRITE_KEEP, WRITE_ROUND } WriteFault;

typedef struct {
    int64_t drop, incomplete, busy_revoke, start_fails; /* how many more; ALWAYS: no end */
    double incomplete_percent, jitter_ms, slow_ms, stop_ms, deliver_ms;
    int64_t stall_until_ns; /* frames are made and lost; INT64_MAX until `resume` */
    int64_t freeze_until_ns; /* no lines are taken, frame ids stand still */
    int64_t padding;
    int64_t pixel_format, height, width, payload_size; /* what is claimed; -1: the truth */
    GC_ERROR open;
    XmlFault xml;
    bool partial_incomplete;
    WriteFault write[F_COUNT];
    double write_step[F_COUNT];
} Faults;

void faults_clear(Faults *faults);
bool fault_take(int64_t *count);

/* ---- stream.c ---- */

typedef enum { BUF_UNUSED, BUF_IDLE, BUF_QUEUED, BUF_FILLING, BUF_DELAYED, BUF_OUTPUT } BufferState;

typedef struct {
    BufferState state;
    uint32_t generation;
    uint8_t *memory;
    size_t size;
    void *user;
    bool ours; /* allocated by DSAllocAndAnnounceBuffer */
    /* of the last frame in it */
    bool filled, incomplete, has_chunks;
    size_t filled_bytes, image_bytes, chunk_bytes;
    int64_t width, height, delivered_height, offset_x, padding;
    uint64_t frame_id;
    int64_t timestamp_ns;
    uint32_t pixel_format;
    int64_t due_ns; /* when a delayed frame is handed over */
    int chunk_count;
    SINGLE_CHUNK_DATA chunks[MAX_CHUNKS];
} Buffer;

typedef struct { /* a ring of buffer numbers */
    int items[MAX_BUFFERS];
    int first, count;
} Queue;

void queue_put(Queue *queue, int item);
int queue_take(Queue *queue); /* -1: empty */
bool queue_remove(Queue *queue, int item);

GC_ERROR buffer_answer(const Buffer *buffer, int32_t cmd, ASK); /* buffer.c */

/* ---- events.c ---- */

typedef struct {
    bool registered;
    uint32_t generation;
    int waiting, kills;
    uint64_t fired;
    int first, count; /* only for EVENT_ERROR */
    struct {
        GC_ERROR code;
        char text[120];
    } errors[MAX_ERRORS];
} Event;

typedef enum { EV_NEW_BUFFER, EV_DEVICE_ERROR, EV_STREAM_ERROR, EV_COUNT } EventSlot;

/* ---- acquisition.c: the camera's own loop ---- */

typedef struct {
    bool thread_runs, quit;
    pthread_t thread;
    bool running; /* AcquisitionStart was given */
    bool in_frame;
    int buffer; /* of the frame being filled; -1: nowhere to put it */
    int64_t line, height;
    int64_t frames_left;  /* -1: continuous */
    int64_t burst_left;   /* frames of the present burst */
    int64_t stream_left;  /* frames the stream still wants; -1: no end */
    bool frame_due, burst_due;
    int64_t frame_due_ns, burst_due_ns;
    int64_t line_pulses; /* software or Line0 line triggers not yet used */
    int64_t begun_ns;    /* the free-running line clock */
    int64_t lines_since;
    int64_t last_line_ns, seen_row, seen_ns, deliver_after_ns;
    bool row_seen;
    int64_t first_ns, first_row, first_missed; /* of this frame */
    int64_t line_encoder[MOST_LINES];
    uint64_t frame_id;
    Lines lines;
    bool lines_ready;
} Acquisition;

typedef struct {
    uint64_t frames_started, frames_delivered, frames_dropped, frames_underrun, frames_stalled,
        frames_incomplete, frames_partial, lines, line_trigger_missed, frame_trigger_missed, ticks;
    int64_t cpu_ns; /* of the acquisition thread */
} Counters;

/* ---- the device ---- */

typedef struct Device {
    unsigned index;
    char id[32], serial[64], user_name[64];
    bool present; /* seen by the interface; false after `lost` */
    double lost_ms; /* a lost device answers after this many ms, with TIMEOUT; 0: IO at once */
    bool open, dead; /* dead: lost while open; only closing and opening again helps */
    uint32_t generation, stream_generation;
    bool stream_open, grabbing;
    int lock_file;
    uint64_t opens, register_reads, register_writes;
    FeatureValue value[F_COUNT][SELECTIONS], initial[F_COUNT][SELECTIONS];
    char *xml;
    size_t xml_size, xml_room;
    Strip strip;
    int64_t sensor_width;
    double line_rate_max;
    int64_t part_pitch, part_length;
    int64_t powered_ns, clock_offset_ns;
    double clock_drift_ppm;
    unsigned frame_id_bits;
    uint64_t first_frame_id;
    Motion motion;
    Encoder encoder;
    Faults faults;
    Acquisition acq;
    Counters counters;
    Buffer buffers[MAX_BUFFERS];
    int announced;
    Queue input, output, delayed;
    Event events[EV_COUNT];
    uint64_t random;
} Device;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a buffer, an error, a kill, a stop: whoever waits looks again */
    bool ready, initialised, system_open, interface_open;
    uint32_t system_generation, interface_generation;
    int device_count;
    int listed[MAX_DEVICES], listed_count; /* what the last IFUpdateDeviceList saw */
    char control_path[108];
    Device devices[MAX_DEVICES];
} Sim;

extern Sim sim;

int64_t now_ns(void);
void dawdle_locked(const double *ms);
int64_t device_clock(const Device *device, int64_t host_ns);
GC_ERROR sim_enter(void); /* takes the lock; NOT_INITIALIZED (and no lock) before GCInitLib */
void sim_leave(void);

Device *device_of_locked(const void *handle, Kind kind); /* NULL: stale, foreign or closed */
Device *device_by_id_locked(const char *id);
void device_power_on_locked(Device *device);
void device_close_locked(Device *device);
void stream_close_locked(Device *device);
GC_ERROR device_info_locked(Device *device, int32_t cmd, ASK);

/* device model (model.c) */
int64_t get_i(const Device *device, FeatureId id);
double get_f(const Device *device, FeatureId id);
int64_t get_selected(const Device *device, FeatureId id, int selection);
void feature_limits(const Device *device, FeatureId id, double *low, double *high, double *step);
GC_ERROR feature_read_locked(Device *device, FeatureId id, FeatureValue *value);
GC_ERROR feature_write_locked(Device *device, FeatureId id, FeatureValue value, bool from_host);
int64_t payload_size(const Device *device);
int64_t image_line_bytes(const Device *device);
double line_rate_limit(const Device *device);
bool chunk_enabled(const Device *device, int chunk);
size_t chunk_bytes(const Device *device, int chunk, int64_t lines);

/* xml.c */
const char *xml_build(Device *device);

/* acquisition.c, frame.c */
GC_ERROR acquisition_start_locked(Device *device);
void acquisition_stop_locked(Device *device);
void acquisition_catch_up_locked(Device *device, int64_t now);
void acquisition_trigger_locked(Device *device, int source, bool rising, int64_t at_ns);
const char *acquisition_thread_start(Device *device);
void acquisition_thread_stop_locked(Device *device);
void frame_line_locked(Device *device, int64_t row, int64_t at_ns);
void frame_finish_locked(Device *device, int64_t at_ns);
void frame_abandon_locked(Device *device);
void frame_deliver_due_locked(Device *device, int64_t at_ns);

/* events.c */
void event_error_locked(Device *device, GC_ERROR code, const char *text);

/* control.c, words.c */
const char *control_start(void);
bool control_settings_changed(void);
void control_startup(void);
void obey(char *line, char *reply, size_t room); /* takes the lock itself */
void status_json_locked(const Device *device, char *out, size_t room);

#endif
