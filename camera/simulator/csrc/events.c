/* Events: a new buffer on the stream, an error on the device or its stream. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "sim.h"

static int slot_for(Kind kind, int32_t wanted) {
    if (kind == KIND_STREAM && wanted == EVENT_NEW_BUFFER) return EV_NEW_BUFFER;
    if (kind == KIND_DEVICE && wanted == EVENT_ERROR) return EV_DEVICE_ERROR;
    if (kind == KIND_STREAM && wanted == EVENT_ERROR) return EV_STREAM_ERROR;
    return -1;
}

static void *event_handle(const Device *device, int slot) {
    return handle_make(KIND_EVENT, device->index, (unsigned)slot, device->events[slot].generation);
}

/* The event behind a handle; the device it belongs to by `device`. */
static Event *event_of_locked(EVENT_HANDLE handle, Device **device) {
    if (handle_kind(handle) != KIND_EVENT || handle_device(handle) >= MAX_DEVICES ||
        handle_index(handle) >= EV_COUNT)
        return NULL;
    *device = &sim.devices[handle_device(handle)];
    Event *event = &(*device)->events[handle_index(handle)];
    return event->registered && event->generation == handle_generation(handle) ? event : NULL;
}

static int pending(const Device *device, const Event *event) {
    return event == &device->events[EV_NEW_BUFFER] ? device->output.count : event->count;
}

static GC_ERROR source_enter(EVENTSRC_HANDLE source, int32_t kind, Device **device, int *slot) {
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    Kind what = handle_kind(source);
    *slot = slot_for(what, kind);
    *device = device_of_locked(source, what);
    if (*slot >= 0 && *device) return GC_ERR_SUCCESS;
    sim_leave();
    if (what == KIND_BUFFER || what == KIND_EVENT || what < KIND_SYSTEM || what > KIND_EVENT)
        return fail(GC_ERR_INVALID_HANDLE, "this is no source of events");
    if (*slot >= 0) return fail(GC_ERR_INVALID_HANDLE, "no open module has this handle");
    return fail(GC_ERR_NOT_IMPLEMENTED, "no events of type %d from this module", kind);
}

GC_ERROR GCRegisterEvent(EVENTSRC_HANDLE source, int32_t kind, EVENT_HANDLE *handle) {
    if (!handle) return fail(GC_ERR_INVALID_PARAMETER, "no place for the handle");
    Device *device;
    int slot;
    GC_ERROR wrong = source_enter(source, kind, &device, &slot);
    if (wrong) return wrong;
    Event *event = &device->events[slot];
    if (event->registered) wrong = fail(GC_ERR_RESOURCE_IN_USE, "the event is registered");
    else {
        event->registered = true;
        event->generation++;
        event->kills = 0;
        event->first = event->count = 0;
        *handle = event_handle(device, slot);
    }
    sim_leave();
    return wrong;
}

GC_ERROR GCUnregisterEvent(EVENTSRC_HANDLE source, int32_t kind) {
    Device *device;
    int slot;
    GC_ERROR wrong = source_enter(source, kind, &device, &slot);
    if (wrong) return wrong;
    if (device->events[slot].registered) device->events[slot].registered = false;
    else wrong = fail(GC_ERR_INVALID_HANDLE, "the event is not registered");
    pthread_cond_broadcast(&sim.changed);
    sim_leave();
    return wrong;
}

void event_error_locked(Device *device, GC_ERROR code, const char *text) {
    for (int slot = EV_DEVICE_ERROR; slot <= EV_STREAM_ERROR; slot++) {
        Event *event = &device->events[slot];
        if (!event->registered || event->count == MAX_ERRORS) continue;
        int place = (event->first + event->count++) % MAX_ERRORS;
        event->errors[place].code = code;
        snprintf(event->errors[place].text, sizeof event->errors[place].text, "%s", text);
        event->fired++;
    }
    pthread_cond_broadcast(&sim.changed);
}

static size_t data_size(const Device *device, const Event *event) {
    return event == &device->events[EV_NEW_BUFFER] ? sizeof(GENTL_NEW_BUFFER)
                                                   : sizeof event->errors[0];
}

static void take_locked(Device *device, Event *event, void *data) {
    if (event != &device->events[EV_NEW_BUFFER]) {
        memcpy(data, &event->errors[event->first], sizeof event->errors[0]);
        event->first = (event->first + 1) % MAX_ERRORS;
        event->count--;
        return;
    }
    int number = queue_take(&device->output);
    Buffer *buffer = &device->buffers[number];
    buffer->state = BUF_IDLE;
    GENTL_NEW_BUFFER news = {
        handle_make(KIND_BUFFER, device->index, (unsigned)number, buffer->generation),
        buffer->user};
    memcpy(data, &news, sizeof news);
}

GC_ERROR EventGetData(EVENT_HANDLE handle, void *data, size_t *size, uint64_t timeout_ms) {
    if (!data || !size) return fail(GC_ERR_INVALID_PARAMETER, "no place for the data");
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    bool for_ever = timeout_ms > 86400000u; /* GENTL_INFINITE, and whatever is as good */
    int64_t end = now_ns() + (for_ever ? 0 : (int64_t)timeout_ms * NS_PER_MS);
    struct timespec until = {(time_t)(end / NS_PER_S), (long)(end % NS_PER_S)};
    for (;;) {
        Device *device;
        Event *event = event_of_locked(handle, &device);
        if (!event) wrong = fail(GC_ERR_INVALID_HANDLE, "the event is not registered");
        else if (event->kills) {
            event->kills--;
            wrong = fail(GC_ERR_ABORT, "EventKill");
        } else if (pending(device, event)) {
            if (*size < data_size(device, event))
                wrong = fail(GC_ERR_BUFFER_TOO_SMALL, "%zu bytes needed",
                             data_size(device, event));
            else {
                *size = data_size(device, event);
                take_locked(device, event, data);
            }
        } else if (!for_ever && now_ns() >= end) wrong = fail(GC_ERR_TIMEOUT, "nothing happened");
        else {
            event->waiting++;
            if (for_ever) pthread_cond_wait(&sim.changed, &sim.lock);
            else pthread_cond_timedwait(&sim.changed, &sim.lock, &until);
            event->waiting--;
            continue;
        }
        sim_leave();
        return wrong;
    }
}

GC_ERROR EventGetDataInfo(EVENT_HANDLE handle, const void *in, size_t in_size, int32_t cmd, ASK) {
    if (!in) return fail(GC_ERR_INVALID_PARAMETER, "no event data");
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    Device *device;
    Event *event = event_of_locked(handle, &device);
    bool buffers = event && event == &device->events[EV_NEW_BUFFER];
    size_t need = event ? data_size(device, event) : 0;
    sim_leave();
    if (!event) return fail(GC_ERR_INVALID_HANDLE, "the event is not registered");
    if (in_size < need) return fail(GC_ERR_INVALID_PARAMETER, "the event data are cut short");
    if (buffers) {
        GENTL_NEW_BUFFER news;
        memcpy(&news, in, sizeof news);
        if (cmd == EVENT_DATA_ID) return answer_pointer(news.handle, type, out, size);
        if (cmd == EVENT_DATA_VALUE) return answer_pointer(news.user, type, out, size);
    } else {
        GC_ERROR code;
        memcpy(&code, in, sizeof code);
        if (cmd == EVENT_DATA_ID) return answer_i32(INFO_DATATYPE_INT32, code, type, out, size);
        if (cmd == EVENT_DATA_VALUE)
            return answer_text((const char *)in + sizeof code, type, out, size);
        if (cmd == EVENT_DATA_NUMID)
            return answer_u64((uint64_t)(int64_t)code, type, out, size);
    }
    return fail(GC_ERR_NOT_IMPLEMENTED, "event data information %d", cmd);
}

GC_ERROR EventGetInfo(EVENT_HANDLE handle, int32_t cmd, ASK) {
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    Device *device;
    Event *event = event_of_locked(handle, &device);
    bool buffers = event && event == &device->events[EV_NEW_BUFFER];
    size_t need = event ? data_size(device, event) : 0;
    size_t waiting = event ? (size_t)pending(device, event) : 0;
    uint64_t fired = event ? event->fired : 0;
    sim_leave();
    if (!event) return fail(GC_ERR_INVALID_HANDLE, "the event is not registered");
    switch (cmd) {
    case EVENT_EVENT_TYPE:
        return answer_i32(INFO_DATATYPE_INT32, buffers ? EVENT_NEW_BUFFER : EVENT_ERROR, type, out,
                          size);
    case EVENT_NUM_IN_QUEUE: return answer_size(waiting, type, out, size);
    case EVENT_NUM_FIRED: return answer_u64(fired, type, out, size);
    case EVENT_SIZE_MAX:
    case EVENT_INFO_DATA_SIZE_MAX: return answer_size(need, type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "event information %d", cmd);
    }
}

GC_ERROR EventFlush(EVENT_HANDLE handle) {
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    Device *device;
    Event *event = event_of_locked(handle, &device);
    if (!event) wrong = fail(GC_ERR_INVALID_HANDLE, "the event is not registered");
    else if (event == &device->events[EV_NEW_BUFFER])
        for (int number; (number = queue_take(&device->output)) >= 0;)
            device->buffers[number].state = BUF_IDLE;
    else event->count = 0;
    sim_leave();
    return wrong;
}

GC_ERROR EventKill(EVENT_HANDLE handle) {
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    Device *device;
    Event *event = event_of_locked(handle, &device);
    if (!event) wrong = fail(GC_ERR_INVALID_HANDLE, "the event is not registered");
    else if (event->waiting) event->kills = 1;
    pthread_cond_broadcast(&sim.changed);
    sim_leave();
    return wrong;
}
