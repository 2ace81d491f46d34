/* What the features do: limits that depend on one another, values that are measured when read,
 * writes that are checked, commands that act. */
#include <math.h>
#include <string.h>

#include "sim.h"

#define READOUT_US 1.0 /* a line cannot start before exposure and readout of the last one ended */

static int selection(const Device *device, FeatureId id) {
    unsigned flags = feature_specs[id].flags;
    if (flags & BY_TRIGGER) return (int)device->value[F_TRIGGER_SELECTOR][0].i;
    if (flags & BY_CHUNK) return (int)device->value[F_CHUNK_SELECTOR][0].i;
    return 0;
}

int64_t get_i(const Device *device, FeatureId id) { return device->value[id][0].i; }

double get_f(const Device *device, FeatureId id) { return device->value[id][0].f; }

int64_t get_selected(const Device *device, FeatureId id, int selected) {
    return device->value[id][selected].i;
}

bool chunk_enabled(const Device *device, int chunk) {
    return get_i(device, F_CHUNK_MODE_ACTIVE) && get_selected(device, F_CHUNK_ENABLE, chunk);
}

/* Of a chunk's data, in a frame of so many lines. */
size_t chunk_bytes(const Device *device, int chunk, int64_t lines) {
    return chunk == CHUNK_ENCODER_VALUE && device->encoder.each_line ? 8 * (size_t)lines : 8;
}

/* The most lines a second that exposure and sensor allow. */
double line_rate_limit(const Device *device) {
    return fmin(device->line_rate_max, 1e6 / (get_f(device, F_EXPOSURE_TIME) + READOUT_US));
}

static double resulting_line_rate(const Device *device) {
    double limit = line_rate_limit(device);
    return get_i(device, F_ACQUISITION_LINE_RATE_ENABLE)
               ? fmin(limit, get_f(device, F_ACQUISITION_LINE_RATE))
               : limit;
}

int64_t image_line_bytes(const Device *device) {
    const PixelFormat *format = pixel_format(get_i(device, F_PIXEL_FORMAT));
    return (int64_t)line_bytes(format, get_i(device, F_WIDTH)) + device->faults.padding;
}

int64_t payload_size(const Device *device) {
    if (device->faults.payload_size >= 0) return device->faults.payload_size;
    int64_t size = image_line_bytes(device) * get_i(device, F_HEIGHT);
    for (int chunk = 0; chunk < MAX_CHUNKS; chunk++)
        if (chunk_enabled(device, chunk))
            size += (int64_t)chunk_bytes(device, chunk, get_i(device, F_HEIGHT)) + 8;
    return get_i(device, F_CHUNK_MODE_ACTIVE) ? size + 8 : size;
}

void feature_limits(const Device *device, FeatureId id, double *low, double *high, double *step) {
    *low = feature_specs[id].low;
    *high = feature_specs[id].high;
    *step = feature_specs[id].step;
    double sensor = (double)device->sensor_width;
    switch (id) {
    case F_WIDTH: *high = floor((sensor - (double)get_i(device, F_OFFSET_X)) / 4) * 4; break;
    case F_OFFSET_X: *high = floor((sensor - (double)get_i(device, F_WIDTH)) / 4) * 4; break;
    case F_ACQUISITION_LINE_RATE: *high = line_rate_limit(device); break;
    case F_EXPOSURE_TIME:
        if (get_i(device, F_ACQUISITION_LINE_RATE_ENABLE))
            *high = fmin(*high, 1e6 / get_f(device, F_ACQUISITION_LINE_RATE) - READOUT_US);
        break;
    default: break;
    }
}

GC_ERROR feature_read_locked(Device *device, FeatureId id, FeatureValue *value) {
    int64_t now = now_ns();
    *value = device->value[id][selection(device, id)];
    switch (id) {
    case F_DEVICE_TEMPERATURE: /* warms up by 6 degrees with a time constant of ten minutes */
        value->f = 41 + 6 * (1 - exp(-(double)(now - device->powered_ns) / (600.0 * 1e9)));
        break;
    case F_WIDTH_MAX: value->i = device->sensor_width - get_i(device, F_OFFSET_X); break;
    case F_RESULTING_LINE_RATE: value->f = resulting_line_rate(device); break;
    case F_PAYLOAD_SIZE: value->i = payload_size(device); break;
    case F_LINE_TRIGGER_MISSED: value->i = (int64_t)device->counters.line_trigger_missed; break;
    case F_FRAME_TRIGGER_MISSED: value->i = (int64_t)device->counters.frame_trigger_missed; break;
    case F_ENCODER_VALUE: value->i = encoder_value(device); break;
    case F_ENCODER_STATUS:
        if (now - device->encoder.moved_ns > 100 * NS_PER_MS) value->i = ENCODER_IDLE;
        else value->i = device->encoder.direction > 0 ? ENCODER_UP : ENCODER_DOWN;
        break;
    default: break;
    }
    return GC_ERR_SUCCESS;
}

static GC_ERROR command_locked(Device *device, FeatureId id) {
    switch (id) {
    case F_ACQUISITION_START: return acquisition_start_locked(device);
    case F_ACQUISITION_STOP: acquisition_stop_locked(device); break;
    case F_TRIGGER_SOFTWARE:
        acquisition_trigger_locked(device, SOURCE_SOFTWARE, true, now_ns());
        break;
    case F_ENCODER_RESET:
        device->encoder.zero = device->encoder.furthest = device->encoder.edge;
        device->encoder.divided = 0;
        break;
    case F_TIMESTAMP_LATCH:
        device->value[F_TIMESTAMP_LATCH_VALUE][0].i = device_clock(device, now_ns());
        break;
    default: break;
    }
    return GC_ERR_SUCCESS;
}

static bool value_allowed(const Device *device, FeatureId id, const FeatureValue *value) {
    const FeatureSpec *spec = &feature_specs[id];
    double low, high, step;
    if (spec->type == T_STRING || spec->type == T_COMMAND) return true;
    if (spec->type == T_ENUM) return feature_choice_known(id, value->i);
    feature_limits(device, id, &low, &high, &step);
    /* The limits travel as doubles and come back as decimal text: allow their last digits. */
    if (spec->type == T_FLOAT)
        return value->f >= low * (1 - 1e-9) && value->f <= high * (1 + 1e-9);
    if ((double)value->i < low || (double)value->i > high) return false;
    return (value->i - (int64_t)low) % (int64_t)step == 0;
}

/* from_host: by way of the register; otherwise told from outside, which no lock and no fault of
 * the register access stops. */
GC_ERROR feature_write_locked(Device *device, FeatureId id, FeatureValue value, bool from_host) {
    const FeatureSpec *spec = &feature_specs[id];
    if (from_host) {
        if (spec->flags & READ_ONLY)
            return fail(GC_ERR_ACCESS_DENIED, "%s is read only", spec->name);
        if (spec->flags & LOCKED && (get_i(device, F_TL_PARAMS_LOCKED) || device->acq.running))
            return fail(GC_ERR_ACCESS_DENIED, "%s is locked while grabbing", spec->name);
        switch (device->faults.write[id]) {
        case WRITE_REFUSE: return fail(GC_ERR_INVALID_VALUE, "%s: told to refuse", spec->name);
        case WRITE_KEEP: return GC_ERR_SUCCESS;
        case WRITE_ROUND:
            if (spec->type == T_FLOAT)
                value.f = floor(value.f / device->faults.write_step[id]) *
                          device->faults.write_step[id];
            else if (spec->type == T_INT) {
                int64_t step = (int64_t)fmax(1, device->faults.write_step[id]);
                value.i = value.i / step * step;
            }
            break;
        case WRITE_OBEY: break;
        }
    }
    if (spec->type == T_COMMAND) return command_locked(device, id);
    if (!value_allowed(device, id, &value))
        return fail(GC_ERR_INVALID_VALUE, "%s: the value is outside its limits", spec->name);
    bool new_rate = id == F_ACQUISITION_LINE_RATE || id == F_EXPOSURE_TIME ||
                    id == F_ACQUISITION_LINE_RATE_ENABLE;
    int64_t now = now_ns();
    double row = motion_row(device, now);
    if (new_rate) acquisition_catch_up_locked(device, now);
    device->value[id][selection(device, id)] = value;
    if (new_rate) motion_restart_locked(device, now, row);
    return GC_ERR_SUCCESS;
}
