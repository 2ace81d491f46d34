/* The library itself, its one system and its one interface, and the list of cameras on it. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

#define SYSTEM_ID "kenpin-simulator"
#define INTERFACE_ID "kenpin-simulator-interface"

Sim sim = {.lock = PTHREAD_MUTEX_INITIALIZER, .device_count = 1};

int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* Lets go of the lock for as long as `ms` says; a new value counts at once, so that a camera told
 * to hang can be told to go on. */
void dawdle_locked(const double *ms) {
    int64_t begun = now_ns();
    struct timespec slice = {0, 5 * NS_PER_MS};
    for (;;) {
        int64_t left = begun + (int64_t)(*ms * (double)NS_PER_MS) - now_ns();
        if (left <= 0) return;
        slice.tv_nsec = (long)(left < 5 * NS_PER_MS ? left : 5 * NS_PER_MS);
        pthread_mutex_unlock(&sim.lock);
        nanosleep(&slice, NULL);
        pthread_mutex_lock(&sim.lock);
    }
}

GC_ERROR sim_enter(void) {
    pthread_mutex_lock(&sim.lock);
    if (sim.initialised) return GC_ERR_SUCCESS;
    pthread_mutex_unlock(&sim.lock);
    return fail(GC_ERR_NOT_INITIALIZED, "GCInitLib was not called");
}

void sim_leave(void) { pthread_mutex_unlock(&sim.lock); }

/* The cameras as they come out of their box. */
static void sim_prepare_locked(void) {
    if (!sim.ready) {
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&sim.changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
    }
    sim.device_count = 1;
    for (unsigned i = 0; i < MAX_DEVICES; i++) {
        Device *device = &sim.devices[i];
        strip_close(&device->strip);
        memset(device, 0, sizeof *device);
        device->index = i;
        device->present = true;
        device->lock_file = -1;
        device->sensor_width = 2048;
        device->line_rate_max = 140000;
        device->frame_id_bits = 64;
        device->clock_offset_ns = 7000 * NS_PER_S;
        device->encoder.bits = 32;
        device->encoder.counts_per_row = 4;
        device->motion.locked = true;
        snprintf(device->id, sizeof device->id, "KENPINSIM-%u", i);
        snprintf(device->serial, sizeof device->serial, "SIM%04u", i + 1);
        for (int id = 0; id < F_COUNT; id++)
            for (int k = 0; k < SELECTIONS; k++) {
                FeatureValue *value = &device->initial[id][k];
                if (feature_specs[id].type == T_FLOAT) value->f = feature_specs[id].initial;
                else if (feature_specs[id].type == T_STRING)
                    snprintf(value->text, sizeof value->text, "%s", feature_specs[id].text);
                else value->i = (int64_t)feature_specs[id].initial;
            }
        faults_clear(&device->faults);
        device_power_on_locked(device);
    }
    sim.ready = true;
}

GC_ERROR GCInitLib(void) {
    pthread_mutex_lock(&sim.lock);
    if (sim.initialised) {
        pthread_mutex_unlock(&sim.lock);
        return fail(GC_ERR_RESOURCE_IN_USE, "GCInitLib was called before");
    }
    /* The library stays in memory when it is closed (-z nodelete), and the cameras keep their
     * settings and faults, as cameras do. Other settings in the environment: other cameras. */
    bool other = control_settings_changed();
    if (other) sim_prepare_locked();
    sim.initialised = true;
    pthread_mutex_unlock(&sim.lock);
    if (!other) return GC_ERR_SUCCESS;
    /* The socket first: whoever writes the script and then tells all sockets misses nobody. */
    const char *wrong = control_start();
    if (wrong) fprintf(stderr, "kenpinsim: no control socket: %s\n", wrong);
    control_startup();
    return GC_ERR_SUCCESS;
}

static void interface_close_locked(void) {
    for (int i = 0; i < MAX_DEVICES; i++) device_close_locked(&sim.devices[i]);
    sim.interface_open = false;
    sim.interface_generation++;
}

GC_ERROR GCCloseLib(void) {
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    interface_close_locked();
    sim.system_open = false;
    sim.system_generation++;
    sim.initialised = false;
    sim_leave();
    return GC_ERR_SUCCESS;
}

static GC_ERROR system_info(int32_t cmd, ASK) {
    switch (cmd) {
    case TL_INFO_ID: return answer_text(SYSTEM_ID, type, out, size);
    case TL_INFO_VENDOR: return answer_text("kenpin", type, out, size);
    case TL_INFO_MODEL: return answer_text("line camera simulator", type, out, size);
    case TL_INFO_VERSION: return answer_text("1.0", type, out, size);
    case TL_INFO_TLTYPE: return answer_text("Custom", type, out, size);
    case TL_INFO_NAME:
    case TL_INFO_PATHNAME: return answer_text("kenpinsim.cti", type, out, size);
    case TL_INFO_DISPLAYNAME:
        return answer_text("kenpin GenTL-style test producer", type, out, size);
    case TL_INFO_CHAR_ENCODING:
        return answer_i32(INFO_DATATYPE_INT32, TL_CHAR_ENCODING_UTF8, type, out, size);
    case TL_INFO_GENTL_VER_MAJOR: return answer_i32(INFO_DATATYPE_UINT32, 1, type, out, size);
    case TL_INFO_GENTL_VER_MINOR: return answer_i32(INFO_DATATYPE_UINT32, 6, type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "system information %d", cmd);
    }
}

GC_ERROR GCGetInfo(int32_t cmd, ASK) { return system_info(cmd, type, out, size); }

/* ---- the system ---- */

static void *system_handle(void) {
    return handle_make(KIND_SYSTEM, 0, 0, sim.system_generation);
}

static void *interface_handle(void) {
    return handle_make(KIND_INTERFACE, 0, 0, sim.interface_generation);
}

static GC_ERROR system_enter(TL_HANDLE system) {
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    if (sim.system_open && system == system_handle()) return GC_ERR_SUCCESS;
    sim_leave();
    return fail(GC_ERR_INVALID_HANDLE, "no open system has this handle");
}

static GC_ERROR interface_enter(IF_HANDLE interface) {
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    if (sim.interface_open && interface == interface_handle()) return GC_ERR_SUCCESS;
    sim_leave();
    return fail(GC_ERR_INVALID_HANDLE, "no open interface has this handle");
}

GC_ERROR TLOpen(TL_HANDLE *system) {
    if (!system) return fail(GC_ERR_INVALID_PARAMETER, "no place for the handle");
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    if (sim.system_open) wrong = fail(GC_ERR_RESOURCE_IN_USE, "the system is open");
    else {
        sim.system_open = true;
        sim.system_generation++;
        *system = system_handle();
    }
    sim_leave();
    return wrong;
}

GC_ERROR TLClose(TL_HANDLE system) {
    GC_ERROR wrong = system_enter(system);
    if (wrong) return wrong;
    interface_close_locked();
    sim.system_open = false;
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR TLGetInfo(TL_HANDLE system, int32_t cmd, ASK) {
    GC_ERROR wrong = system_enter(system);
    if (wrong) return wrong;
    sim_leave();
    return system_info(cmd, type, out, size);
}

GC_ERROR TLUpdateInterfaceList(TL_HANDLE system, bool8_t *changed, uint64_t timeout) {
    (void)timeout;
    GC_ERROR wrong = system_enter(system);
    if (wrong) return wrong;
    if (changed) *changed = 0;
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR TLGetNumInterfaces(TL_HANDLE system, uint32_t *count) {
    if (!count) return fail(GC_ERR_INVALID_PARAMETER, "no place for the count");
    GC_ERROR wrong = system_enter(system);
    if (wrong) return wrong;
    *count = 1;
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR TLGetInterfaceID(TL_HANDLE system, uint32_t index, char *id, size_t *size) {
    GC_ERROR wrong = system_enter(system);
    if (wrong) return wrong;
    sim_leave();
    if (index) return fail(GC_ERR_INVALID_INDEX, "interface %u; there is one", index);
    return answer_text(INTERFACE_ID, NULL, id, size);
}

static GC_ERROR interface_info(int32_t cmd, ASK) {
    switch (cmd) {
    case INTERFACE_INFO_ID: return answer_text(INTERFACE_ID, type, out, size);
    case INTERFACE_INFO_DISPLAYNAME: return answer_text("kenpin simulator", type, out, size);
    case INTERFACE_INFO_TLTYPE: return answer_text("Custom", type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "interface information %d", cmd);
    }
}

GC_ERROR TLGetInterfaceInfo(TL_HANDLE system, const char *id, int32_t cmd, ASK) {
    GC_ERROR wrong = system_enter(system);
    if (wrong) return wrong;
    sim_leave();
    if (!id || strcmp(id, INTERFACE_ID) != 0)
        return fail(GC_ERR_INVALID_ID, "no interface is called %s", id ? id : "(nothing)");
    return interface_info(cmd, type, out, size);
}

GC_ERROR TLOpenInterface(TL_HANDLE system, const char *id, IF_HANDLE *interface) {
    GC_ERROR wrong = system_enter(system);
    if (wrong) return wrong;
    if (!interface || !id || strcmp(id, INTERFACE_ID) != 0)
        wrong = fail(GC_ERR_INVALID_ID, "no interface is called %s", id ? id : "(nothing)");
    else if (sim.interface_open) wrong = fail(GC_ERR_RESOURCE_IN_USE, "the interface is open");
    else {
        sim.interface_open = true;
        sim.interface_generation++;
        sim.listed_count = 0;
        *interface = interface_handle();
    }
    sim_leave();
    return wrong;
}

/* ---- the interface ---- */

GC_ERROR IFClose(IF_HANDLE interface) {
    GC_ERROR wrong = interface_enter(interface);
    if (wrong) return wrong;
    interface_close_locked();
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR IFGetInfo(IF_HANDLE interface, int32_t cmd, ASK) {
    GC_ERROR wrong = interface_enter(interface);
    if (wrong) return wrong;
    sim_leave();
    return interface_info(cmd, type, out, size);
}

GC_ERROR IFGetParentTL(IF_HANDLE interface, TL_HANDLE *system) {
    if (!system) return fail(GC_ERR_INVALID_PARAMETER, "no place for the handle");
    GC_ERROR wrong = interface_enter(interface);
    if (wrong) return wrong;
    *system = system_handle();
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR IFUpdateDeviceList(IF_HANDLE interface, bool8_t *changed, uint64_t timeout) {
    (void)timeout;
    GC_ERROR wrong = interface_enter(interface);
    if (wrong) return wrong;
    int found[MAX_DEVICES], count = 0;
    for (int i = 0; i < sim.device_count; i++)
        if (sim.devices[i].present) found[count++] = i;
    bool same = count == sim.listed_count &&
                memcmp(found, sim.listed, (size_t)count * sizeof *found) == 0;
    memcpy(sim.listed, found, (size_t)count * sizeof *found);
    sim.listed_count = count;
    if (changed) *changed = !same;
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR IFGetNumDevices(IF_HANDLE interface, uint32_t *count) {
    if (!count) return fail(GC_ERR_INVALID_PARAMETER, "no place for the count");
    GC_ERROR wrong = interface_enter(interface);
    if (wrong) return wrong;
    *count = (uint32_t)sim.listed_count;
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR IFGetDeviceID(IF_HANDLE interface, uint32_t index, char *id, size_t *size) {
    GC_ERROR wrong = interface_enter(interface);
    if (wrong) return wrong;
    if (index >= (uint32_t)sim.listed_count)
        wrong = fail(GC_ERR_INVALID_INDEX, "device %u of %d", index, sim.listed_count);
    else wrong = answer_text(sim.devices[sim.listed[index]].id, NULL, id, size);
    sim_leave();
    return wrong;
}

GC_ERROR IFGetDeviceInfo(IF_HANDLE interface, const char *id, int32_t cmd, ASK) {
    GC_ERROR wrong = interface_enter(interface);
    if (wrong) return wrong;
    Device *device = id ? device_by_id_locked(id) : NULL;
    if (!device) wrong = fail(GC_ERR_INVALID_ID, "no device is called %s", id ? id : "(nothing)");
    else wrong = device_info_locked(device, cmd, type, out, size);
    sim_leave();
    return wrong;
}
