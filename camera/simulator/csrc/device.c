/* One camera as GenTL sees it: found by its id, opened once, closed with all that hangs on it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "sim.h"

#define STREAM_ID "Stream0"

Device *device_by_id_locked(const char *id) {
    for (int i = 0; i < sim.device_count; i++)
        if (strcmp(sim.devices[i].id, id) == 0) return &sim.devices[i];
    return NULL;
}

Device *device_of_locked(const void *handle, Kind kind) {
    if (handle_kind(handle) != kind || handle_device(handle) >= MAX_DEVICES) return NULL;
    Device *device = &sim.devices[handle_device(handle)];
    bool stream = kind == KIND_STREAM;
    uint32_t generation = stream ? device->stream_generation : device->generation;
    if (!device->open || (stream && !device->stream_open)) return NULL;
    return handle_generation(handle) == generation ? device : NULL;
}

/* What a camera is like after its power came on: default settings, a clock from its own zero. */
void device_power_on_locked(Device *device) {
    memcpy(device->value, device->initial, sizeof device->value);
    snprintf(device->value[F_DEVICE_SERIAL_NUMBER][0].text, FEATURE_TEXT, "%s", device->serial);
    device->value[F_SENSOR_WIDTH][0].i = device->sensor_width;
    if (device->value[F_WIDTH][0].i > device->sensor_width)
        device->value[F_WIDTH][0].i = device->sensor_width / 4 * 4;
    device->powered_ns = now_ns();
    device->encoder.edge = device->encoder.zero = device->encoder.furthest = 0;
    device->encoder.divided = 0;
    device->motion.begun_ns = device->powered_ns;
    device->motion.begun_row = 0;
    memset(&device->counters, 0, sizeof device->counters);
}

int64_t device_clock(const Device *device, int64_t host_ns) {
    double since = (double)(host_ns - device->powered_ns);
    return device->clock_offset_ns + (int64_t)(since * (1 + device->clock_drift_ppm * 1e-6));
}

/* A camera has one owner. Between processes a lock on a file beside the control socket stands for
 * it; the kernel lets go of it when the owner dies, whatever way it died. */
static bool owner_take(Device *device) {
    if (!sim.control_path[0]) return true;
    char path[sizeof sim.control_path + 16];
    snprintf(path, sizeof path, "%s.owner%u", sim.control_path, device->index);
    device->lock_file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (device->lock_file < 0) return true; /* no such folder: nobody else can come either */
    if (flock(device->lock_file, LOCK_EX | LOCK_NB) == 0) return true;
    close(device->lock_file);
    device->lock_file = -1;
    return false;
}

static void owner_leave(Device *device) {
    if (device->lock_file >= 0) close(device->lock_file);
    device->lock_file = -1;
}

static int32_t access_status(Device *device) {
    if (!device->present) return DEVICE_ACCESS_STATUS_NOACCESS;
    if (device->open)
        return device->dead ? DEVICE_ACCESS_STATUS_NOACCESS : DEVICE_ACCESS_STATUS_OPEN_READWRITE;
    if (device->faults.open == GC_ERR_ACCESS_DENIED) return DEVICE_ACCESS_STATUS_NOACCESS;
    if (device->faults.open != GC_ERR_SUCCESS) return DEVICE_ACCESS_STATUS_BUSY;
    if (!owner_take(device)) return DEVICE_ACCESS_STATUS_BUSY;
    owner_leave(device);
    return DEVICE_ACCESS_STATUS_READWRITE;
}

GC_ERROR device_info_locked(Device *device, int32_t cmd, ASK) {
    char name[160];
    switch (cmd) {
    case DEVICE_INFO_ID: return answer_text(device->id, type, out, size);
    case DEVICE_INFO_VENDOR: return answer_text("kenpin", type, out, size);
    case DEVICE_INFO_MODEL: return answer_text("simulated line camera", type, out, size);
    case DEVICE_INFO_TLTYPE: return answer_text("Custom", type, out, size);
    case DEVICE_INFO_DISPLAYNAME:
        snprintf(name, sizeof name, "simulated line camera (%s)", device->serial);
        return answer_text(name, type, out, size);
    case DEVICE_INFO_ACCESS_STATUS:
        return answer_i32(INFO_DATATYPE_INT32, access_status(device), type, out, size);
    case DEVICE_INFO_USER_DEFINED_NAME:
        return answer_text(device->value[F_DEVICE_USER_ID][0].text, type, out, size);
    case DEVICE_INFO_SERIAL_NUMBER: return answer_text(device->serial, type, out, size);
    case DEVICE_INFO_VERSION: return answer_text("1", type, out, size);
    case DEVICE_INFO_TIMESTAMP_FREQUENCY: return answer_u64(NS_PER_S, type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "device information %d", cmd);
    }
}

GC_ERROR IFOpenDevice(IF_HANDLE interface, const char *id, int32_t flags, DEV_HANDLE *handle) {
    (void)flags; /* whoever opens, owns */
    if (!id || !handle) return fail(GC_ERR_INVALID_PARAMETER, "no id or no place for the handle");
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    Device *device = device_by_id_locked(id);
    if (handle_kind(interface) != KIND_INTERFACE || !sim.interface_open)
        wrong = fail(GC_ERR_INVALID_HANDLE, "no open interface has this handle");
    else if (!device) wrong = fail(GC_ERR_INVALID_ID, "no device is called %s", id);
    else if (!device->present) wrong = fail(GC_ERR_IO, "%s does not answer", id);
    else if (device->open) wrong = fail(GC_ERR_RESOURCE_IN_USE, "%s is open here", id);
    else if (device->faults.open) wrong = fail(device->faults.open, "%s: told not to open", id);
    else if (!owner_take(device))
        wrong = fail(GC_ERR_RESOURCE_IN_USE, "%s is open in another process", id);
    else {
        const char *reason = acquisition_thread_start(device);
        if (reason) {
            owner_leave(device);
            wrong = fail(GC_ERR_RESOURCE_EXHAUSTED, "%s: %s", id, reason);
        } else {
            device->open = true;
            device->dead = false;
            device->opens++;
            device->generation++;
            device->value[F_TL_PARAMS_LOCKED][0].i = 0;
            *handle = handle_make(KIND_DEVICE, device->index, 0, device->generation);
        }
    }
    sim_leave();
    return wrong;
}

void device_close_locked(Device *device) {
    if (!device->open) return;
    device->open = false; /* first: the lock is let go while the thread ends */
    acquisition_stop_locked(device);
    stream_close_locked(device);
    acquisition_thread_stop_locked(device);
    for (int slot = 0; slot < EV_COUNT; slot++) device->events[slot].registered = false;
    pthread_cond_broadcast(&sim.changed);
    free(device->xml);
    device->xml = NULL;
    device->xml_size = device->xml_room = 0;
    device->dead = false;
    device->generation++;
    owner_leave(device);
}

static GC_ERROR device_enter(DEV_HANDLE handle, Device **device) {
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    *device = device_of_locked(handle, KIND_DEVICE);
    if (*device) return GC_ERR_SUCCESS;
    sim_leave();
    return fail(GC_ERR_INVALID_HANDLE, "no open device has this handle");
}

GC_ERROR DevClose(DEV_HANDLE handle) {
    Device *device;
    GC_ERROR wrong = device_enter(handle, &device);
    if (wrong) return wrong;
    device_close_locked(device);
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR DevGetInfo(DEV_HANDLE handle, int32_t cmd, ASK) {
    Device *device;
    GC_ERROR wrong = device_enter(handle, &device);
    if (wrong) return wrong;
    wrong = device_info_locked(device, cmd, type, out, size);
    sim_leave();
    return wrong;
}

GC_ERROR DevGetPort(DEV_HANDLE handle, PORT_HANDLE *port) {
    if (!port) return fail(GC_ERR_INVALID_PARAMETER, "no place for the handle");
    Device *device;
    GC_ERROR wrong = device_enter(handle, &device);
    if (wrong) return wrong;
    *port = handle_make(KIND_REMOTE, device->index, 0, device->generation);
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR DevGetParentIF(DEV_HANDLE handle, IF_HANDLE *interface) {
    if (!interface) return fail(GC_ERR_INVALID_PARAMETER, "no place for the handle");
    Device *device;
    GC_ERROR wrong = device_enter(handle, &device);
    if (wrong) return wrong;
    *interface = handle_make(KIND_INTERFACE, 0, 0, sim.interface_generation);
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR DevGetNumDataStreams(DEV_HANDLE handle, uint32_t *count) {
    if (!count) return fail(GC_ERR_INVALID_PARAMETER, "no place for the count");
    Device *device;
    GC_ERROR wrong = device_enter(handle, &device);
    if (wrong) return wrong;
    *count = 1;
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR DevGetDataStreamID(DEV_HANDLE handle, uint32_t index, char *id, size_t *size) {
    Device *device;
    GC_ERROR wrong = device_enter(handle, &device);
    if (wrong) return wrong;
    sim_leave();
    if (index) return fail(GC_ERR_INVALID_INDEX, "stream %u; there is one", index);
    return answer_text(STREAM_ID, NULL, id, size);
}

GC_ERROR DevOpenDataStream(DEV_HANDLE handle, const char *id, DS_HANDLE *stream) {
    if (!id || !stream) return fail(GC_ERR_INVALID_PARAMETER, "no id or no place for the handle");
    Device *device;
    GC_ERROR wrong = device_enter(handle, &device);
    if (wrong) return wrong;
    if (strcmp(id, STREAM_ID) != 0) wrong = fail(GC_ERR_INVALID_ID, "no stream is called %s", id);
    else if (device->dead) wrong = fail(GC_ERR_IO, "%s is lost", device->id);
    else if (device->stream_open) wrong = fail(GC_ERR_RESOURCE_IN_USE, "the stream is open");
    else {
        device->stream_open = true;
        device->stream_generation++;
        *stream = handle_make(KIND_STREAM, device->index, 0, device->stream_generation);
    }
    sim_leave();
    return wrong;
}

GC_ERROR DSGetParentDev(DS_HANDLE handle, DEV_HANDLE *parent) {
    if (!parent) return fail(GC_ERR_INVALID_PARAMETER, "no place for the handle");
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    Device *device = device_of_locked(handle, KIND_STREAM);
    if (device) *parent = handle_make(KIND_DEVICE, device->index, 0, device->generation);
    else wrong = fail(GC_ERR_INVALID_HANDLE, "no open stream has this handle");
    sim_leave();
    return wrong;
}
