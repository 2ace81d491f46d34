/* From lines to frames: when a frame begins, where its lines go, how it ends, what may befall it
 * on its way into a buffer and from there to whoever waits. */
#include <string.h>

#include "sim.h"

static bool may_begin(Device *device, int64_t at) {
    Acquisition *acq = &device->acq;
    if (get_selected(device, F_TRIGGER_MODE, TRIGGER_BURST_START) && !acq->burst_left) {
        if (!acq->burst_due || at < acq->burst_due_ns) return false;
        acq->burst_due = false;
        acq->burst_left = get_i(device, F_ACQUISITION_BURST_FRAME_COUNT);
    }
    if (get_selected(device, F_TRIGGER_MODE, TRIGGER_FRAME_START)) {
        if (!acq->frame_due || at < acq->frame_due_ns) return false;
        acq->frame_due = false;
    }
    if (acq->burst_left) acq->burst_left--;
    return true;
}

static void begin(Device *device, int64_t row, int64_t at) {
    Acquisition *acq = &device->acq;
    int64_t room = image_line_bytes(device) * get_i(device, F_HEIGHT);
    acq->in_frame = true;
    acq->line = 0;
    acq->height = get_i(device, F_HEIGHT);
    acq->first_ns = at;
    acq->first_row = row;
    acq->first_missed = (int64_t)device->counters.line_trigger_missed;
    device->counters.frames_started++;
    acq->buffer = device->grabbing ? queue_take(&device->input) : -1;
    if (acq->buffer < 0) return;
    Buffer *buffer = &device->buffers[acq->buffer];
    buffer->state = BUF_FILLING;
    buffer->filled = false;
    if ((int64_t)buffer->size >= room) return;
    /* Too small for the image: nothing is written, it goes back and the frame is lost. */
    buffer->state = BUF_QUEUED;
    queue_put(&device->input, acq->buffer);
    acq->buffer = -1;
}

void frame_line_locked(Device *device, int64_t row, int64_t at) {
    Acquisition *acq = &device->acq;
    if (!acq->in_frame) {
        if (!may_begin(device, at)) return;
        begin(device, row, at);
    }
    device->counters.lines++;
    acq->line_encoder[acq->line] = encoder_value(device);
    if (acq->buffer >= 0) {
        bool gap = device->part_pitch && (row % device->part_pitch + device->part_pitch) %
                                                 device->part_pitch >=
                                             device->part_length;
        uint8_t *line = device->buffers[acq->buffer].memory + acq->line * image_line_bytes(device);
        lines_copy(&acq->lines, row, gap, line);
        if (device->faults.padding)
            memset(line + acq->lines.bytes, 0xA5, (size_t)device->faults.padding);
    }
    if (++acq->line == acq->height) frame_finish_locked(device, at);
}

static uint64_t next_frame_id(Device *device) {
    uint64_t id = device->acq.frame_id++;
    if (device->frame_id_bits >= 64) return id;
    uint64_t mask = (1ull << device->frame_id_bits) - 1;
    /* GigE Vision 1.x: 16 bits, and 0 is never a block's number; others simply wrap. */
    if (device->frame_id_bits == 16) return id ? (id - 1) % mask + 1 : 0;
    return id & mask;
}

/* Chunks follow the image as GigE Vision lays them out: data, then id and length, big endian. */
static void chunks_write(Device *device, Buffer *buffer, size_t at) {
    Acquisition *acq = &device->acq;
    FeatureValue values[MAX_CHUNKS];
    size_t start = at;
    buffer->chunk_count = 0;
    values[CHUNK_FRAME_ID].i = (int64_t)buffer->frame_id;
    values[CHUNK_TIMESTAMP].i = buffer->timestamp_ns;
    values[CHUNK_LINE_TRIGGER_MISSED].i =
        (int64_t)device->counters.line_trigger_missed - acq->first_missed;
    values[CHUNK_EXPOSURE_TIME].f = get_f(device, F_EXPOSURE_TIME);
    for (int chunk = -1; chunk < MAX_CHUNKS; chunk++) { /* -1: the tail of the image itself */
        uint32_t id = chunk < 0 ? 0xFFFFu : (uint32_t)chunk + 1;
        const void *data = chunk == CHUNK_ENCODER_VALUE ? (void *)acq->line_encoder
                           : chunk < 0                  ? NULL
                                                        : (void *)&values[chunk].i;
        size_t length = chunk < 0 ? buffer->image_bytes : chunk_bytes(device, chunk, acq->line);
        if (chunk >= 0 && !chunk_enabled(device, chunk)) continue;
        if (chunk >= 0) {
            buffer->chunks[buffer->chunk_count++] =
                (SINGLE_CHUNK_DATA){id, (ptrdiff_t)at, length};
            memcpy(buffer->memory + at, data, length);
            at += length;
        }
        for (int byte = 0; byte < 4; byte++) {
            buffer->memory[at + (size_t)byte] = (uint8_t)(id >> (24 - 8 * byte));
            buffer->memory[at + 4 + (size_t)byte] = (uint8_t)(length >> (24 - 8 * byte));
        }
        at += 8;
    }
    buffer->chunk_bytes = at - start;
    buffer->has_chunks = true;
}

static double random_unit(Device *device) { /* splitmix64: the same jitter in every run */
    uint64_t z = device->random += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

/* What was lost on the way: a run of lines in the middle of the frame stays black. */
static void lose_lines(Device *device, Buffer *buffer) {
    int64_t bytes = image_line_bytes(device);
    int64_t lost = (int64_t)((double)buffer->delivered_height *
                             device->faults.incomplete_percent / 100);
    int64_t first = (buffer->delivered_height - lost) / 2;
    memset(buffer->memory + first * bytes, 0, (size_t)(lost * bytes));
    buffer->incomplete = true;
    buffer->filled_bytes -= (size_t)(lost * bytes);
    device->counters.frames_incomplete++;
}

static void describe(Device *device, Buffer *buffer, uint64_t id) {
    Acquisition *acq = &device->acq;
    const Faults *faults = &device->faults;
    buffer->filled = true;
    buffer->incomplete = buffer->has_chunks = false;
    buffer->chunk_count = 0;
    buffer->chunk_bytes = 0;
    buffer->frame_id = id;
    buffer->timestamp_ns = device_clock(device, acq->first_ns);
    buffer->width = faults->width >= 0 ? faults->width : get_i(device, F_WIDTH);
    buffer->height = faults->height >= 0 ? faults->height : acq->height;
    buffer->delivered_height = acq->line;
    buffer->offset_x = get_i(device, F_OFFSET_X);
    buffer->padding = faults->padding;
    buffer->pixel_format = (uint32_t)(faults->pixel_format >= 0 ? faults->pixel_format
                                                                : get_i(device, F_PIXEL_FORMAT));
    buffer->image_bytes = (size_t)(image_line_bytes(device) * acq->line);
    buffer->filled_bytes = buffer->image_bytes;
    if (acq->line < acq->height) {
        device->counters.frames_partial++;
        buffer->incomplete = faults->partial_incomplete;
    }
    if (get_i(device, F_CHUNK_MODE_ACTIVE) && (int64_t)buffer->size >= payload_size(device)) {
        chunks_write(device, buffer, buffer->image_bytes);
        buffer->filled_bytes += buffer->chunk_bytes;
    }
    if (fault_take(&device->faults.incomplete)) lose_lines(device, buffer);
    if (faults->height >= 0) buffer->delivered_height = faults->height;
}

static void hand_over(Device *device, int number, int64_t at) {
    Buffer *buffer = &device->buffers[number];
    Acquisition *acq = &device->acq;
    double wait_ms = device->faults.deliver_ms + device->faults.jitter_ms * random_unit(device);
    buffer->due_ns = at + (int64_t)(wait_ms * (double)NS_PER_MS);
    if (buffer->due_ns < acq->deliver_after_ns) buffer->due_ns = acq->deliver_after_ns;
    acq->deliver_after_ns = buffer->due_ns; /* frames never overtake one another */
    buffer->state = BUF_DELAYED;
    queue_put(&device->delayed, number);
}

void frame_finish_locked(Device *device, int64_t at) {
    Acquisition *acq = &device->acq;
    int number = acq->buffer;
    uint64_t id = next_frame_id(device);
    bool stalled = at < device->faults.stall_until_ns, dropped = false;
    if (number >= 0 && !stalled) dropped = fault_take(&device->faults.drop);
    if (number < 0) {
        if (device->grabbing) device->counters.frames_underrun++;
    } else if (stalled || dropped) {
        device->buffers[number].state = BUF_QUEUED;
        queue_put(&device->input, number);
        if (dropped) device->counters.frames_dropped++;
        else device->counters.frames_stalled++;
    } else {
        describe(device, &device->buffers[number], id);
        hand_over(device, number, at);
        frame_deliver_due_locked(device, at);
    }
    acq->in_frame = false;
    acq->buffer = -1;
    if (acq->frames_left > 0 && --acq->frames_left == 0) acquisition_stop_locked(device);
}

/* The camera stops in the middle of a frame: its buffer waits for another. */
void frame_abandon_locked(Device *device) {
    Acquisition *acq = &device->acq;
    if (acq->in_frame && acq->buffer >= 0) {
        device->buffers[acq->buffer].state = BUF_QUEUED;
        queue_put(&device->input, acq->buffer);
    }
    acq->in_frame = false;
    acq->buffer = -1;
}

void frame_deliver_due_locked(Device *device, int64_t at) {
    while (device->delayed.count) {
        int number = device->delayed.items[device->delayed.first];
        if (device->buffers[number].due_ns > at) return;
        queue_take(&device->delayed);
        device->buffers[number].state = BUF_OUTPUT;
        queue_put(&device->output, number);
        device->counters.frames_delivered++;
        device->events[EV_NEW_BUFFER].fired++;
        pthread_cond_broadcast(&sim.changed);
        if (device->acq.stream_left > 0 && --device->acq.stream_left == 0)
            device->grabbing = false;
    }
}
