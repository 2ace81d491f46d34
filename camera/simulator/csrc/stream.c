/* The data stream: buffers announced, queued, flushed and revoked; the stream started, stopped. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

void queue_put(Queue *queue, int item) {
    queue->items[(queue->first + queue->count++) % MAX_BUFFERS] = item;
}

int queue_take(Queue *queue) {
    if (!queue->count) return -1;
    int item = queue->items[queue->first];
    queue->first = (queue->first + 1) % MAX_BUFFERS;
    queue->count--;
    return item;
}

bool queue_remove(Queue *queue, int item) {
    bool found = false;
    for (int i = queue->count; i > 0; i--) {
        int next = queue_take(queue);
        if (next == item) found = true;
        else queue_put(queue, next);
    }
    return found;
}

static GC_ERROR stream_enter(DS_HANDLE handle, Device **device) {
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    *device = device_of_locked(handle, KIND_STREAM);
    if (*device) return GC_ERR_SUCCESS;
    sim_leave();
    return fail(GC_ERR_INVALID_HANDLE, "no open stream has this handle");
}

static Buffer *buffer_of(Device *device, BUFFER_HANDLE handle, int *number) {
    *number = (int)handle_index(handle);
    if (handle_kind(handle) != KIND_BUFFER || handle_device(handle) != device->index ||
        *number >= MAX_BUFFERS)
        return NULL;
    Buffer *buffer = &device->buffers[*number];
    bool same = buffer->state != BUF_UNUSED && buffer->generation == handle_generation(handle);
    return same ? buffer : NULL;
}

static void *buffer_handle(Device *device, int number) {
    return handle_make(KIND_BUFFER, device->index, (unsigned)number,
                       device->buffers[number].generation);
}

static GC_ERROR announce(DS_HANDLE stream, void *memory, size_t size, void *user, bool ours,
                         BUFFER_HANDLE *handle) {
    if (!memory || !size || !handle)
        return fail(GC_ERR_INVALID_PARAMETER, "a buffer needs memory and a place for its handle");
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    int number = 0;
    while (number < MAX_BUFFERS && device->buffers[number].state != BUF_UNUSED) number++;
    if (device->grabbing) wrong = fail(GC_ERR_BUSY, "the stream is running");
    else if (number == MAX_BUFFERS)
        wrong = fail(GC_ERR_RESOURCE_EXHAUSTED, "more than %d buffers", MAX_BUFFERS);
    else {
        Buffer *buffer = &device->buffers[number];
        uint32_t generation = buffer->generation + 1;
        *buffer = (Buffer){.state = BUF_IDLE, .generation = generation, .memory = memory,
                           .size = size, .user = user, .ours = ours};
        device->announced++;
        *handle = buffer_handle(device, number);
    }
    sim_leave();
    return wrong;
}

GC_ERROR DSAnnounceBuffer(DS_HANDLE stream, void *memory, size_t size, void *user,
                          BUFFER_HANDLE *buffer) {
    return announce(stream, memory, size, user, false, buffer);
}

GC_ERROR DSAllocAndAnnounceBuffer(DS_HANDLE stream, size_t size, void *user,
                                  BUFFER_HANDLE *buffer) {
    void *memory = calloc(1, size ? size : 1);
    if (!memory) return fail(GC_ERR_OUT_OF_MEMORY, "no %zu bytes for a buffer", size);
    GC_ERROR wrong = announce(stream, memory, size, user, true, buffer);
    if (wrong) free(memory);
    return wrong;
}

GC_ERROR DSRevokeBuffer(DS_HANDLE stream, BUFFER_HANDLE handle, void **memory, void **user) {
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    int number;
    Buffer *buffer = buffer_of(device, handle, &number);
    if (!buffer) wrong = fail(GC_ERR_INVALID_HANDLE, "no buffer has this handle");
    else if (fault_take(&device->faults.busy_revoke))
        wrong = fail(GC_ERR_BUSY, "told to be busy; a queued buffer cannot be revoked");
    else if (buffer->state != BUF_IDLE && buffer->state != BUF_OUTPUT)
        wrong = fail(GC_ERR_BUSY, "a queued buffer cannot be revoked");
    else {
        queue_remove(&device->output, number);
        if (memory) *memory = buffer->ours ? NULL : buffer->memory;
        if (user) *user = buffer->user;
        if (buffer->ours) free(buffer->memory);
        buffer->memory = NULL;
        buffer->state = BUF_UNUSED;
        device->announced--;
    }
    sim_leave();
    return wrong;
}

GC_ERROR DSQueueBuffer(DS_HANDLE stream, BUFFER_HANDLE handle) {
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    int number;
    Buffer *buffer = buffer_of(device, handle, &number);
    if (!buffer) wrong = fail(GC_ERR_INVALID_HANDLE, "no buffer has this handle");
    else if (buffer->state != BUF_IDLE) wrong = fail(GC_ERR_BUSY, "the buffer is queued");
    else {
        buffer->state = BUF_QUEUED;
        queue_put(&device->input, number);
    }
    sim_leave();
    return wrong;
}

static void move_all(Device *device, Queue *from, bool to_input) {
    for (int number; (number = queue_take(from)) >= 0;) {
        device->buffers[number].state = to_input ? BUF_QUEUED : BUF_IDLE;
        if (to_input) queue_put(&device->input, number);
    }
}

GC_ERROR DSFlushQueue(DS_HANDLE stream, int32_t operation) {
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    switch (operation) {
    case ACQ_QUEUE_INPUT_TO_OUTPUT:
        for (int number; (number = queue_take(&device->input)) >= 0;) {
            device->buffers[number].state = BUF_OUTPUT;
            device->buffers[number].filled = false;
            queue_put(&device->output, number);
        }
        pthread_cond_broadcast(&sim.changed);
        break;
    case ACQ_QUEUE_OUTPUT_DISCARD: move_all(device, &device->output, false); break;
    case ACQ_QUEUE_ALL_TO_INPUT:
    case ACQ_QUEUE_UNQUEUED_TO_INPUT:
        if (operation == ACQ_QUEUE_ALL_TO_INPUT) move_all(device, &device->output, true);
        for (int i = 0; i < MAX_BUFFERS; i++)
            if (device->buffers[i].state == BUF_IDLE) {
                device->buffers[i].state = BUF_QUEUED;
                queue_put(&device->input, i);
            }
        break;
    case ACQ_QUEUE_ALL_DISCARD:
        frame_abandon_locked(device);
        move_all(device, &device->input, false);
        move_all(device, &device->delayed, false);
        move_all(device, &device->output, false);
        break;
    default: wrong = fail(GC_ERR_INVALID_PARAMETER, "flush operation %d", operation);
    }
    sim_leave();
    return wrong;
}

GC_ERROR DSStartAcquisition(DS_HANDLE stream, int32_t flags, uint64_t frames) {
    (void)flags;
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    if (device->dead) wrong = fail(GC_ERR_IO, "the camera is lost");
    else if (device->grabbing) wrong = fail(GC_ERR_RESOURCE_IN_USE, "the stream is running");
    else if (!device->announced) wrong = fail(GC_ERR_INVALID_BUFFER, "no buffer is announced");
    else {
        device->grabbing = true;
        device->acq.stream_left = frames == UINT64_MAX ? -1 : (int64_t)frames;
    }
    sim_leave();
    return wrong;
}

GC_ERROR DSStopAcquisition(DS_HANDLE stream, int32_t flags) {
    (void)flags;
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    dawdle_locked(&device->faults.stop_ms);
    if (!sim.initialised || device_of_locked(stream, KIND_STREAM) != device)
        wrong = fail(GC_ERR_INVALID_HANDLE, "the stream was closed meanwhile");
    else if (!device->grabbing) wrong = fail(GC_ERR_RESOURCE_IN_USE, "the stream does not run");
    else {
        frame_abandon_locked(device);
        device->grabbing = false;
    }
    sim_leave();
    return wrong;
}

void stream_close_locked(Device *device) {
    if (!device->stream_open) return;
    frame_abandon_locked(device);
    device->grabbing = false;
    for (int i = 0; i < MAX_BUFFERS; i++) {
        if (device->buffers[i].state == BUF_UNUSED) continue;
        if (device->buffers[i].ours) free(device->buffers[i].memory);
        device->buffers[i].memory = NULL;
        device->buffers[i].state = BUF_UNUSED;
    }
    device->announced = 0;
    device->input.count = device->output.count = device->delayed.count = 0;
    device->events[EV_NEW_BUFFER].registered = device->events[EV_STREAM_ERROR].registered = false;
    device->stream_open = false;
    device->stream_generation++;
    pthread_cond_broadcast(&sim.changed);
}

GC_ERROR DSClose(DS_HANDLE stream) {
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    stream_close_locked(device);
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR DSGetBufferID(DS_HANDLE stream, uint32_t index, BUFFER_HANDLE *handle) {
    if (!handle) return fail(GC_ERR_INVALID_PARAMETER, "no place for the handle");
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    wrong = fail(GC_ERR_INVALID_INDEX, "buffer %u of %d", index, device->announced);
    for (int i = 0; i < MAX_BUFFERS; i++) {
        if (device->buffers[i].state == BUF_UNUSED || index--) continue;
        *handle = buffer_handle(device, i);
        wrong = GC_ERR_SUCCESS;
        break;
    }
    sim_leave();
    return wrong;
}

GC_ERROR DSGetInfo(DS_HANDLE stream, int32_t cmd, ASK) {
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    const Counters counters = device->counters;
    int queued = device->input.count, ready = device->output.count, known = device->announced;
    bool grabbing = device->grabbing;
    int64_t payload = payload_size(device);
    sim_leave();
    switch (cmd) {
    case STREAM_INFO_ID: return answer_text("Stream0", type, out, size);
    case STREAM_INFO_NUM_DELIVERED: return answer_u64(counters.frames_delivered, type, out, size);
    case STREAM_INFO_NUM_UNDERRUN: return answer_u64(counters.frames_underrun, type, out, size);
    case STREAM_INFO_NUM_ANNOUNCED: return answer_size((size_t)known, type, out, size);
    case STREAM_INFO_NUM_QUEUED: return answer_size((size_t)queued, type, out, size);
    case STREAM_INFO_NUM_AWAIT_DELIVERY: return answer_size((size_t)ready, type, out, size);
    case STREAM_INFO_NUM_STARTED: return answer_u64(counters.frames_started, type, out, size);
    case STREAM_INFO_PAYLOAD_SIZE: return answer_size((size_t)payload, type, out, size);
    case STREAM_INFO_IS_GRABBING: return answer_bool(grabbing, type, out, size);
    case STREAM_INFO_DEFINES_PAYLOADSIZE: return answer_bool(false, type, out, size);
    case STREAM_INFO_TLTYPE: return answer_text("Custom", type, out, size);
    case STREAM_INFO_NUM_CHUNKS_MAX: return answer_size(MAX_CHUNKS, type, out, size);
    case STREAM_INFO_BUF_ANNOUNCE_MIN:
    case STREAM_INFO_BUF_ALIGNMENT: return answer_size(1, type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "stream information %d", cmd);
    }
}

GC_ERROR DSGetBufferInfo(DS_HANDLE stream, BUFFER_HANDLE handle, int32_t cmd, ASK) {
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    int number;
    const Buffer *found = buffer_of(device, handle, &number);
    Buffer buffer;
    if (found) buffer = *found;
    sim_leave();
    if (!found) return fail(GC_ERR_INVALID_HANDLE, "no buffer has this handle");
    return buffer_answer(&buffer, cmd, type, out, size);
}

GC_ERROR DSGetBufferChunkData(DS_HANDLE stream, BUFFER_HANDLE handle, SINGLE_CHUNK_DATA *chunks,
                              size_t *count) {
    if (!count) return fail(GC_ERR_INVALID_PARAMETER, "no place for the count");
    Device *device;
    GC_ERROR wrong = stream_enter(stream, &device);
    if (wrong) return wrong;
    int number;
    const Buffer *buffer = buffer_of(device, handle, &number);
    size_t known = buffer ? (size_t)buffer->chunk_count : 0;
    if (!buffer) wrong = fail(GC_ERR_INVALID_HANDLE, "no buffer has this handle");
    else if (!buffer->has_chunks) wrong = fail(GC_ERR_NO_DATA, "the buffer holds no chunks");
    else if (chunks && *count < known)
        wrong = fail(GC_ERR_BUFFER_TOO_SMALL, "%zu chunks, room for %zu", known, *count);
    else {
        if (chunks) memcpy(chunks, buffer->chunks, known * sizeof *chunks);
        *count = known;
    }
    sim_leave();
    return wrong;
}
