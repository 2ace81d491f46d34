/* What a buffer says of the frame in it, and the functions of version 1.6 we have no use for. */
#include "sim.h"

static GC_ERROR about_the_image(const Buffer *buffer, int32_t cmd, ASK) {
    switch (cmd) {
    case BUFFER_INFO_TIMESTAMP:
    case BUFFER_INFO_TIMESTAMP_NS:
        return answer_u64((uint64_t)buffer->timestamp_ns, type, out, size);
    case BUFFER_INFO_WIDTH: return answer_size((size_t)buffer->width, type, out, size);
    case BUFFER_INFO_HEIGHT: return answer_size((size_t)buffer->height, type, out, size);
    case BUFFER_INFO_DELIVERED_IMAGEHEIGHT:
        return answer_size((size_t)buffer->delivered_height, type, out, size);
    case BUFFER_INFO_XOFFSET: return answer_size((size_t)buffer->offset_x, type, out, size);
    case BUFFER_INFO_YOFFSET:
    case BUFFER_INFO_YPADDING: return answer_size(0, type, out, size);
    case BUFFER_INFO_XPADDING: return answer_size((size_t)buffer->padding, type, out, size);
    case BUFFER_INFO_FRAMEID: return answer_u64(buffer->frame_id, type, out, size);
    case BUFFER_INFO_IMAGEPRESENT: return answer_bool(true, type, out, size);
    case BUFFER_INFO_IMAGEOFFSET: return answer_size(0, type, out, size);
    case BUFFER_INFO_PAYLOADTYPE: return answer_size(PAYLOAD_TYPE_IMAGE, type, out, size);
    case BUFFER_INFO_PIXELFORMAT: return answer_u64(buffer->pixel_format, type, out, size);
    case BUFFER_INFO_PIXELFORMAT_NAMESPACE:
        return answer_u64(PIXELFORMAT_NAMESPACE_PFNC_32BIT, type, out, size);
    case BUFFER_INFO_PIXEL_ENDIANNESS:
        return answer_i32(INFO_DATATYPE_INT32, PIXELENDIANNESS_LITTLE, type, out, size);
    case BUFFER_INFO_DELIVERED_CHUNKPAYLOADSIZE:
        return answer_size(buffer->chunk_bytes, type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "buffer information %d", cmd);
    }
}

GC_ERROR buffer_answer(const Buffer *buffer, int32_t cmd, ASK) {
    switch (cmd) {
    case BUFFER_INFO_BASE: return answer_pointer(buffer->memory, type, out, size);
    case BUFFER_INFO_SIZE: return answer_size(buffer->size, type, out, size);
    case BUFFER_INFO_USER_PTR: return answer_pointer(buffer->user, type, out, size);
    case BUFFER_INFO_NEW_DATA: return answer_bool(buffer->filled, type, out, size);
    case BUFFER_INFO_IS_QUEUED:
        return answer_bool(buffer->state != BUF_IDLE && buffer->state != BUF_UNUSED, type, out,
                           size);
    case BUFFER_INFO_IS_ACQUIRING:
        return answer_bool(buffer->state == BUF_FILLING, type, out, size);
    case BUFFER_INFO_IS_INCOMPLETE:
        return answer_bool(!buffer->filled || buffer->incomplete, type, out, size);
    case BUFFER_INFO_TLTYPE: return answer_text("Custom", type, out, size);
    case BUFFER_INFO_SIZE_FILLED:
    case BUFFER_INFO_DATA_SIZE:
        return answer_size(buffer->filled ? buffer->filled_bytes : 0, type, out, size);
    case BUFFER_INFO_DATA_LARGER_THAN_BUFFER:
    case BUFFER_INFO_IS_COMPOSITE: return answer_bool(false, type, out, size);
    case BUFFER_INFO_CONTAINS_CHUNKDATA: return answer_bool(buffer->has_chunks, type, out, size);
    default: break;
    }
    if (!buffer->filled) return fail(GC_ERR_NOT_AVAILABLE, "the buffer holds no frame");
    return about_the_image(buffer, cmd, type, out, size);
}

GC_ERROR DSGetNumBufferParts(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t *count) {
    (void)stream, (void)buffer;
    if (count) *count = 0;
    return fail(GC_ERR_NO_DATA, "a buffer holds one image, no parts");
}

GC_ERROR DSGetBufferPartInfo(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t part, int32_t cmd,
                             ASK) {
    (void)stream, (void)buffer, (void)part, (void)cmd, (void)type, (void)out, (void)size;
    return fail(GC_ERR_NO_DATA, "a buffer holds one image, no parts");
}

GC_ERROR DSAnnounceCompositeBuffer(DS_HANDLE stream, size_t segments, void **memory, size_t *sizes,
                                   void *user, BUFFER_HANDLE *buffer) {
    (void)stream, (void)segments, (void)memory, (void)sizes, (void)user, (void)buffer;
    return fail(GC_ERR_NOT_IMPLEMENTED, "no composite buffers");
}

GC_ERROR DSGetBufferInfoStacked(DS_HANDLE stream, BUFFER_HANDLE buffer, void *entries,
                                size_t count) {
    (void)stream, (void)buffer, (void)entries, (void)count;
    return fail(GC_ERR_NOT_IMPLEMENTED, "ask one by one");
}

GC_ERROR DSGetBufferPartInfoStacked(DS_HANDLE stream, BUFFER_HANDLE buffer, void *entries,
                                    size_t count) {
    (void)stream, (void)buffer, (void)entries, (void)count;
    return fail(GC_ERR_NOT_IMPLEMENTED, "ask one by one");
}

GC_ERROR DSGetNumFlows(DS_HANDLE stream, uint32_t *count) {
    (void)stream;
    if (count) *count = 0;
    return GC_ERR_SUCCESS;
}

GC_ERROR DSGetFlowInfo(DS_HANDLE stream, uint32_t flow, int32_t cmd, ASK) {
    (void)stream, (void)cmd, (void)type, (void)out, (void)size;
    return fail(GC_ERR_INVALID_INDEX, "flow %u; there are none", flow);
}

GC_ERROR DSGetNumBufferSegments(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t *count) {
    (void)stream, (void)buffer;
    if (count) *count = 1;
    return GC_ERR_SUCCESS;
}

GC_ERROR DSGetBufferSegmentInfo(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t segment,
                                int32_t cmd, ASK) {
    (void)stream, (void)buffer, (void)segment, (void)cmd, (void)type, (void)out, (void)size;
    return fail(GC_ERR_NOT_IMPLEMENTED, "no composite buffers");
}
