/* `status`: what the camera is doing and has done, as one line of JSON. */
#include "sim.h"

static const char *state(const Device *device) {
    if (!device->present || device->dead) return "lost";
    if (!device->open) return "closed";
    if (!device->acq.running) return "open";
    if (now_ns() < device->faults.stall_until_ns) return "stalled";
    if (now_ns() < device->faults.freeze_until_ns) return "frozen";
    return device->acq.in_frame ? "in_frame" : "waiting";
}

void status_json_locked(const Device *device, char *out, size_t room) {
    const Counters *c = &device->counters;
    const Acquisition *acq = &device->acq;
    snprintf(out, room,
             "{\"camera\": %u, \"state\": \"%s\", \"present\": %s, \"open\": %s, "
             "\"acquiring\": %s, \"streaming\": %s, \"opens\": %llu, "
             "\"frames_started\": %llu, \"frames_delivered\": %llu, \"frames_dropped\": %llu, "
             "\"frames_underrun\": %llu, \"frames_stalled\": %llu, \"frames_incomplete\": %llu, "
             "\"frames_partial\": %llu, \"lines\": %llu, \"line_trigger_missed\": %llu, "
             "\"frame_trigger_missed\": %llu, \"next_frame_id\": %llu, \"row\": %lld, "
             "\"speed\": %.3f, \"encoder\": %lld, \"announced\": %d, \"queued\": %d, "
             "\"ready\": %d, \"register_reads\": %llu, \"register_writes\": %llu, "
             "\"cpu_ns\": %lld, \"ticks\": %llu}",
             device->index, state(device), device->present ? "true" : "false",
             device->open ? "true" : "false", acq->running ? "true" : "false",
             device->grabbing ? "true" : "false", (unsigned long long)device->opens,
             (unsigned long long)c->frames_started, (unsigned long long)c->frames_delivered,
             (unsigned long long)c->frames_dropped, (unsigned long long)c->frames_underrun,
             (unsigned long long)c->frames_stalled, (unsigned long long)c->frames_incomplete,
             (unsigned long long)c->frames_partial, (unsigned long long)c->lines,
             (unsigned long long)c->line_trigger_missed,
             (unsigned long long)c->frame_trigger_missed, (unsigned long long)acq->frame_id,
             (long long)acq->seen_row, motion_speed(device, now_ns()),
             (long long)encoder_value(device), device->announced, device->input.count,
             device->output.count, (unsigned long long)device->register_reads,
             (unsigned long long)device->register_writes, (long long)c->cpu_ns,
             (unsigned long long)c->ticks);
}
