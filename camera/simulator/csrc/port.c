/* Reading and writing the camera's registers, and where its XML description lies. */
#include <string.h>

#include "sim.h"

static const char *const port_name = "Device";

/* The remote device behind a port handle, lock held; slow and lost cameras take their time here,
 * with the lock released meanwhile. */
static GC_ERROR port_enter(PORT_HANDLE port, Device **device) {
    GC_ERROR wrong = sim_enter();
    if (wrong) return wrong;
    Kind kind = handle_kind(port);
    if (kind != KIND_REMOTE) {
        sim_leave();
        if (kind == KIND_SYSTEM || kind == KIND_INTERFACE || kind == KIND_DEVICE ||
            kind == KIND_STREAM)
            return fail(GC_ERR_NOT_AVAILABLE, "only the remote device has registers");
        return fail(GC_ERR_INVALID_HANDLE, "this is no port");
    }
    *device = device_of_locked(port, KIND_REMOTE);
    if (*device) return GC_ERR_SUCCESS;
    sim_leave();
    return fail(GC_ERR_INVALID_HANDLE, "no open device has this port");
}

/* Waits as the camera is told to, and looks again: it may be lost or closed by then. */
static GC_ERROR port_answer(PORT_HANDLE port, Device **device) {
    GC_ERROR wrong = port_enter(port, device);
    if (wrong) return wrong;
    dawdle_locked((*device)->dead ? &(*device)->lost_ms : &(*device)->faults.slow_ms);
    if (!sim.initialised || device_of_locked(port, KIND_REMOTE) != *device) {
        sim_leave();
        return fail(GC_ERR_INVALID_HANDLE, "the device was closed meanwhile");
    }
    if (!(*device)->dead) return GC_ERR_SUCCESS;
    bool slow = (*device)->lost_ms > 0;
    sim_leave();
    return slow ? fail(GC_ERR_TIMEOUT, "the camera did not answer in time")
                : fail(GC_ERR_IO, "the camera is lost");
}

static GC_ERROR xml_read_locked(Device *device, uint64_t address, void *data, size_t *size) {
    uint64_t offset = address - XML_BASE;
    if (device->faults.xml == XML_UNREADABLE) return fail(GC_ERR_IO, "told not to give the XML");
    if (!device->xml || offset >= device->xml_room)
        return fail(GC_ERR_INVALID_ADDRESS, "nothing at %#llx", (unsigned long long)address);
    if (*size > device->xml_room - offset) *size = device->xml_room - offset;
    memcpy(data, device->xml + offset, *size);
    return GC_ERR_SUCCESS;
}

GC_ERROR GCReadPort(PORT_HANDLE port, uint64_t address, void *data, size_t *size) {
    if (!data || !size) return fail(GC_ERR_INVALID_PARAMETER, "no place for the data");
    Device *device;
    GC_ERROR wrong = port_answer(port, &device);
    if (wrong) return wrong;
    device->register_reads++;
    if (address >= XML_BASE) {
        wrong = xml_read_locked(device, address, data, size);
        sim_leave();
        return wrong;
    }
    uint64_t number = (address - REGISTER_BASE) / REGISTER_STRIDE;
    uint64_t part = (address - REGISTER_BASE) % REGISTER_STRIDE;
    if (address < REGISTER_BASE || number >= F_COUNT || part + *size > REGISTER_STRIDE) {
        sim_leave();
        return fail(GC_ERR_INVALID_ADDRESS, "nothing at %#llx", (unsigned long long)address);
    }
    const FeatureSpec *spec = &feature_specs[number];
    double limit[3];
    uint8_t block[REGISTER_STRIDE] = {0};
    FeatureValue value;
    memset(&value, 0, sizeof value);
    wrong = feature_read_locked(device, (FeatureId)number, &value);
    if (spec->type == T_STRING) memcpy(block, value.text, sizeof value.text);
    else {
        memcpy(block, &value.i, sizeof value.i);
        feature_limits(device, (FeatureId)number, &limit[0], &limit[1], &limit[2]);
        for (size_t i = 0; i < 3; i++) {
            int64_t whole = (int64_t)limit[i];
            memcpy(block + REGISTER_LOW + 8 * i,
                   spec->type == T_FLOAT ? (void *)&limit[i] : (void *)&whole, 8);
        }
    }
    memcpy(data, block + part, *size);
    sim_leave();
    return wrong;
}

GC_ERROR GCWritePort(PORT_HANDLE port, uint64_t address, const void *data, size_t *size) {
    if (!data || !size) return fail(GC_ERR_INVALID_PARAMETER, "no data");
    Device *device;
    GC_ERROR wrong = port_answer(port, &device);
    if (wrong) return wrong;
    device->register_writes++;
    uint64_t number = (address - REGISTER_BASE) / REGISTER_STRIDE;
    FeatureValue value;
    memset(&value, 0, sizeof value);
    if (address < REGISTER_BASE || number >= F_COUNT ||
        (address - REGISTER_BASE) % REGISTER_STRIDE != 0 || *size > sizeof value)
        wrong = fail(GC_ERR_INVALID_ADDRESS, "no register at %#llx", (unsigned long long)address);
    else {
        memcpy(&value, data, *size);
        value.text[sizeof value.text - 1] = 0;
        wrong = feature_write_locked(device, (FeatureId)number, value, true);
    }
    sim_leave();
    return wrong;
}

GC_ERROR GCReadPortStacked(PORT_HANDLE port, PORT_REGISTER_STACK_ENTRY *entries, size_t *count) {
    if (!entries || !count) return fail(GC_ERR_INVALID_PARAMETER, "no entries");
    for (size_t i = 0; i < *count; i++) {
        size_t length = entries[i].size;
        GC_ERROR wrong = GCReadPort(port, entries[i].address, entries[i].buffer, &length);
        if (wrong) {
            *count = i;
            return wrong;
        }
    }
    return GC_ERR_SUCCESS;
}

GC_ERROR GCWritePortStacked(PORT_HANDLE port, PORT_REGISTER_STACK_ENTRY *entries, size_t *count) {
    if (!entries || !count) return fail(GC_ERR_INVALID_PARAMETER, "no entries");
    for (size_t i = 0; i < *count; i++) {
        size_t length = entries[i].size;
        GC_ERROR wrong = GCWritePort(port, entries[i].address, entries[i].buffer, &length);
        if (wrong) {
            *count = i;
            return wrong;
        }
    }
    return GC_ERR_SUCCESS;
}

GC_ERROR GCGetNumPortURLs(PORT_HANDLE port, uint32_t *count) {
    if (!count) return fail(GC_ERR_INVALID_PARAMETER, "no place for the count");
    Device *device;
    GC_ERROR wrong = port_answer(port, &device);
    if (wrong) return wrong;
    *count = device->faults.xml == XML_MISSING ? 0 : 1;
    sim_leave();
    return GC_ERR_SUCCESS;
}

GC_ERROR GCGetPortURLInfo(PORT_HANDLE port, uint32_t index, int32_t cmd, ASK) {
    Device *device;
    GC_ERROR wrong = port_answer(port, &device);
    if (wrong) return wrong;
    const char *reason = index || device->faults.xml == XML_MISSING ? "there is no such URL"
                                                                    : xml_build(device);
    char url[80];
    size_t length = device->xml_size;
    snprintf(url, sizeof url, "Local:///kenpinsim.xml;%X;%zX?SchemaVersion=1.1.0", XML_BASE, length);
    sim_leave();
    if (reason) return fail(GC_ERR_INVALID_INDEX, "%s", reason);
    switch (cmd) {
    case URL_INFO_URL: return answer_text(url, type, out, size);
    case URL_INFO_SCHEMA_VER_MAJOR:
    case URL_INFO_SCHEMA_VER_MINOR:
    case URL_INFO_FILE_VER_MAJOR: return answer_i32(INFO_DATATYPE_INT32, 1, type, out, size);
    case URL_INFO_FILE_VER_MINOR:
    case URL_INFO_FILE_VER_SUBMINOR: return answer_i32(INFO_DATATYPE_INT32, 0, type, out, size);
    case URL_INFO_FILE_REGISTER_ADDRESS: return answer_u64(XML_BASE, type, out, size);
    case URL_INFO_FILE_SIZE: return answer_u64(length, type, out, size);
    case URL_INFO_SCHEME:
        return answer_i32(INFO_DATATYPE_INT32, URL_SCHEME_LOCAL, type, out, size);
    case URL_INFO_FILENAME: return answer_text("kenpinsim.xml", type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "URL information %d", cmd);
    }
}

GC_ERROR GCGetPortURL(PORT_HANDLE port, char *url, size_t *size) {
    return GCGetPortURLInfo(port, 0, URL_INFO_URL, NULL, url, size);
}

GC_ERROR GCGetPortInfo(PORT_HANDLE port, int32_t cmd, ASK) {
    Device *device;
    GC_ERROR wrong = port_enter(port, &device);
    if (wrong) return wrong;
    char id[sizeof device->id];
    memcpy(id, device->id, sizeof id);
    bool dead = device->dead;
    sim_leave();
    switch (cmd) {
    case PORT_INFO_ID: return answer_text(id, type, out, size);
    case PORT_INFO_VENDOR: return answer_text("kenpin", type, out, size);
    case PORT_INFO_MODEL: return answer_text("simulated line camera", type, out, size);
    case PORT_INFO_TLTYPE: return answer_text("Custom", type, out, size);
    case PORT_INFO_MODULE: return answer_text("Device", type, out, size);
    case PORT_INFO_LITTLE_ENDIAN: return answer_bool(true, type, out, size);
    case PORT_INFO_BIG_ENDIAN: return answer_bool(false, type, out, size);
    case PORT_INFO_ACCESS_READ:
    case PORT_INFO_ACCESS_WRITE: return answer_bool(!dead, type, out, size);
    case PORT_INFO_ACCESS_NA: return answer_bool(dead, type, out, size);
    case PORT_INFO_ACCESS_NI: return answer_bool(false, type, out, size);
    case PORT_INFO_VERSION: return answer_text("1", type, out, size);
    case PORT_INFO_PORTNAME: return answer_text(port_name, type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "port information %d", cmd);
    }
}
