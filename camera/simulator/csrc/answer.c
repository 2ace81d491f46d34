/* Handles, errors and the "ask for the size, then for the value" convention of every GetInfo. */
#include <stdarg.h>
#include <string.h>

#include "sim.h"

/* A handle is a number: kind, device, index and the generation of what it names. A handle kept
 * after its module was closed therefore never fits again. */
void *handle_make(Kind kind, unsigned device, unsigned index, uint32_t generation) {
    uint64_t number = (uint64_t)kind << 56 | (uint64_t)device << 48 | (uint64_t)index << 32 |
                      (uint64_t)generation;
    return (void *)(uintptr_t)number;
}

Kind handle_kind(const void *handle) { return (Kind)((uint64_t)(uintptr_t)handle >> 56); }

unsigned handle_device(const void *handle) { return (uint64_t)(uintptr_t)handle >> 48 & 255; }

unsigned handle_index(const void *handle) { return (uint64_t)(uintptr_t)handle >> 32 & 65535; }

uint32_t handle_generation(const void *handle) { return (uint32_t)(uintptr_t)handle; }

static _Thread_local GC_ERROR last_code = GC_ERR_SUCCESS;
static _Thread_local char last_text[200] = "no error yet";

GC_ERROR fail(GC_ERROR code, const char *format, ...) {
    va_list words;
    va_start(words, format);
    vsnprintf(last_text, sizeof last_text, format, words);
    va_end(words);
    last_code = code;
    return code;
}

GC_ERROR GCGetLastError(GC_ERROR *code, char *text, size_t *size) {
    if (!code || !size) return GC_ERR_INVALID_PARAMETER;
    *code = last_code;
    INFO_DATATYPE type;
    return answer_text(last_text, &type, text, size);
}

GC_ERROR answer_bytes(INFO_DATATYPE is, const void *value, size_t length, ASK) {
    if (!size) return fail(GC_ERR_INVALID_PARAMETER, "no place for the size of the answer");
    if (type) *type = is;
    if (!out) {
        *size = length;
        return GC_ERR_SUCCESS;
    }
    if (*size < length)
        return fail(GC_ERR_BUFFER_TOO_SMALL, "the answer needs %zu bytes, there are %zu", length,
                    *size);
    memcpy(out, value, length);
    *size = length;
    return GC_ERR_SUCCESS;
}

GC_ERROR answer_text(const char *text, ASK) {
    return answer_bytes(INFO_DATATYPE_STRING, text, strlen(text) + 1, type, out, size);
}

GC_ERROR answer_i32(INFO_DATATYPE is, int32_t value, ASK) {
    return answer_bytes(is, &value, sizeof value, type, out, size);
}

GC_ERROR answer_u64(uint64_t value, ASK) {
    return answer_bytes(INFO_DATATYPE_UINT64, &value, sizeof value, type, out, size);
}

GC_ERROR answer_size(size_t value, ASK) {
    return answer_bytes(INFO_DATATYPE_SIZET, &value, sizeof value, type, out, size);
}

GC_ERROR answer_bool(bool value, ASK) {
    bool8_t byte = value;
    return answer_bytes(INFO_DATATYPE_BOOL8, &byte, sizeof byte, type, out, size);
}

GC_ERROR answer_pointer(void *value, ASK) {
    return answer_bytes(INFO_DATATYPE_PTR, &value, sizeof value, type, out, size);
}
