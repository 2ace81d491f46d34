/* Faults: what the control socket may ask for, kept in one record for each camera. */
#include <string.h>

#include "sim.h"

void faults_clear(Faults *faults) {
    memset(faults, 0, sizeof *faults);
    faults->incomplete_percent = 50;
    faults->pixel_format = faults->height = faults->width = faults->payload_size = -1;
}

/* True if the fault shall strike now; counts it off unless it is meant for ever. */
bool fault_take(int64_t *count) {
    if (*count == 0) return false;
    if (*count > 0) (*count)--;
    return true;
}
