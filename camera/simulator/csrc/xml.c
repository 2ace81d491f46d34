/* The camera's own description of its features, generated from the table in features.c. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

typedef struct {
    char *text;
    size_t used, room;
    bool full;
} Page;

static void add(Page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(Page *page, const char *format, ...) {
    va_list words;
    for (;;) {
        va_start(words, format);
        int need = vsnprintf(page->text + page->used, page->room - page->used, format, words);
        va_end(words);
        if (need < 0) page->full = true;
        if (need < 0 || page->used + (size_t)need < page->room) {
            if (need > 0) page->used += (size_t)need;
            return;
        }
        char *more = realloc(page->text, page->room * 2);
        if (!more) {
            page->full = true;
            return;
        }
        page->text = more;
        page->room *= 2;
    }
}

static const char *const chunk_name[MAX_CHUNKS] = {
    "ChunkFrameID", "ChunkTimestamp", "ChunkEncoderValue", "ChunkLineTriggerMissed",
    "ChunkExposureTime"};

static void add_register(Page *page, FeatureId id, const char *which, unsigned offset) {
    const FeatureSpec *spec = &feature_specs[id];
    bool real = spec->type == T_FLOAT;
    add(page,
        "<%s Name=\"%s%s\"><Address>0x%X</Address><Length>8</Length>"
        "<AccessMode>%s</AccessMode><pPort>Device</pPort><Cachable>%s</Cachable>%s"
        "<Endianess>LittleEndian</Endianess></%s>\n",
        real ? "FloatReg" : "IntReg", spec->name, which,
        REGISTER_BASE + (unsigned)id * REGISTER_STRIDE + offset,
        offset || spec->flags & READ_ONLY ? "RO" : (spec->type == T_COMMAND ? "WO" : "RW"),
        spec->flags & FIXED ? "WriteThrough" : "NoCache", real ? "" : "<Sign>Signed</Sign>",
        real ? "FloatReg" : "IntReg");
}

/* What stands inside every feature's element before its value. */
static void add_head(Page *page, const FeatureSpec *spec) {
    add(page, "<Visibility>Beginner</Visibility>");
    if (spec->flags & LOCKED) add(page, "<pIsLocked>TLParamsLocked</pIsLocked>");
}

static void add_string(Page *page, FeatureId id) {
    const FeatureSpec *spec = &feature_specs[id];
    add(page,
        "<StringReg Name=\"%s\"><Visibility>Beginner</Visibility><Address>0x%X</Address>"
        "<Length>%d</Length><AccessMode>%s</AccessMode><pPort>Device</pPort>"
        "<Cachable>NoCache</Cachable></StringReg>\n",
        spec->name, REGISTER_BASE + (unsigned)id * REGISTER_STRIDE, FEATURE_TEXT,
        spec->flags & READ_ONLY ? "RO" : "RW");
}

static void add_number(Page *page, FeatureId id) {
    const FeatureSpec *spec = &feature_specs[id];
    const char *element = spec->type == T_FLOAT ? "Float" : "Integer";
    add(page, "<%s Name=\"%s\">", element, spec->name);
    add_head(page, spec);
    add(page, "<pValue>%s_Value</pValue><pMin>%s_Low</pMin><pMax>%s_High</pMax>", spec->name,
        spec->name, spec->name);
    if (spec->type == T_INT) add(page, "<pInc>%s_Step</pInc>", spec->name);
    if (spec->unit && spec->unit[0]) add(page, "<Unit>%s</Unit>", spec->unit);
    add(page, "</%s>\n", element);
    add_register(page, id, "_Value", 0);
    add_register(page, id, "_Low", REGISTER_LOW);
    add_register(page, id, "_High", REGISTER_HIGH);
    if (spec->type == T_INT) add_register(page, id, "_Step", REGISTER_STEP);
}

static void add_choice(Page *page, FeatureId id) {
    const FeatureSpec *spec = &feature_specs[id];
    add(page, "<Enumeration Name=\"%s\">", spec->name);
    add_head(page, spec);
    for (const Choice *choice = spec->choices; choice->name; choice++)
        add(page, "<EnumEntry Name=\"%s\"><Value>%lld</Value></EnumEntry>", choice->name,
            (long long)choice->value);
    add(page, "<pValue>%s_Value</pValue>", spec->name);
    for (int other = 0; other < F_COUNT; other++)
        if ((id == F_TRIGGER_SELECTOR && feature_specs[other].flags & BY_TRIGGER) ||
            (id == F_CHUNK_SELECTOR && feature_specs[other].flags & BY_CHUNK) ||
            (id == F_ENCODER_SELECTOR && other > F_ENCODER_SELECTOR && other <= F_ENCODER_STATUS))
            add(page, "<pSelected>%s</pSelected>", feature_specs[other].name);
    add(page, "</Enumeration>\n");
    add_register(page, id, "_Value", 0);
}

static void add_feature(Page *page, FeatureId id) {
    const FeatureSpec *spec = &feature_specs[id];
    switch (spec->type) {
    case T_STRING: add_string(page, id); return;
    case T_INT:
    case T_FLOAT: add_number(page, id); return;
    case T_ENUM: add_choice(page, id); return;
    case T_BOOL:
        add(page, "<Boolean Name=\"%s\">", spec->name);
        add_head(page, spec);
        add(page, "<pValue>%s_Value</pValue><OnValue>1</OnValue><OffValue>0</OffValue></Boolean>\n",
            spec->name);
        break;
    case T_COMMAND:
        add(page, "<Command Name=\"%s\">", spec->name);
        add_head(page, spec);
        add(page, "<pValue>%s_Value</pValue><CommandValue>1</CommandValue></Command>\n",
            spec->name);
        break;
    }
    add_register(page, id, "_Value", 0);
}

static void add_categories(Page *page, bool each_line) {
    const char *last = "";
    add(page, "<Category Name=\"Root\">");
    for (int id = 0; id < F_COUNT; id++)
        if (strcmp(last, feature_specs[id].category) != 0)
            add(page, "<pFeature>%s</pFeature>", last = feature_specs[id].category);
    add(page, "</Category>\n");
    last = "";
    for (int id = 0; id < F_COUNT; id++) {
        if (strcmp(last, feature_specs[id].category) != 0)
            add(page, "%s<Category Name=\"%s\">", id ? "</Category>\n" : "",
                last = feature_specs[id].category);
        add(page, "<pFeature>%s</pFeature>", feature_specs[id].name);
        if (id == F_CHUNK_ENABLE)
            for (int chunk = 0; chunk < MAX_CHUNKS; chunk++)
                add(page, "<pFeature>%s</pFeature>", chunk_name[chunk]);
        if (id == F_CHUNK_ENABLE && each_line)
            add(page, "<pFeature>ChunkScanLineSelector</pFeature>");
    }
    add(page, "</Category>\n");
}

static void add_chunks(Page *page, bool each_line) {
    for (int chunk = 0; chunk < MAX_CHUNKS; chunk++) {
        const char *name = chunk_name[chunk];
        bool real = chunk == CHUNK_EXPOSURE_TIME;
        const char *of_line = each_line && chunk == CHUNK_ENCODER_VALUE
                                  ? "<pIndex Offset=\"8\">ChunkScanLineSelector</pIndex>"
                                  : "";
        add(page,
            "<%s Name=\"%s\"><pValue>%s_Value</pValue></%s>\n"
            "<%s Name=\"%s_Value\"><Address>0</Address>%s<Length>8</Length>"
            "<AccessMode>RO</AccessMode><pPort>%sPort</pPort><Cachable>NoCache</Cachable>%s"
            "<Endianess>LittleEndian</Endianess></%s>\n"
            "<Port Name=\"%sPort\"><ChunkID>%08X</ChunkID></Port>\n",
            real ? "Float" : "Integer", name, name, real ? "Float" : "Integer",
            real ? "FloatReg" : "IntReg", name, of_line, name, real ? "" : "<Sign>Signed</Sign>",
            real ? "FloatReg" : "IntReg", name, chunk + 1);
    }
    if (each_line)
        add(page,
            "<Integer Name=\"ChunkScanLineSelector\"><Value>0</Value><Min>0</Min>"
            "<Max>%d</Max><pSelected>ChunkEncoderValue</pSelected></Integer>\n",
            MOST_LINES - 1);
}

/* NULL, or what went wrong. Faults of the description are applied here, once it is complete. */
const char *xml_build(Device *device) {
    if (device->xml) return NULL;
    Page page = {malloc(1 << 15), 0, 1 << 15, false};
    if (!page.text) return "out of memory";
    add(&page, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<RegisterDescription "
               "ModelName=\"SimulatedLineCamera\" VendorName=\"kenpin\" "
               "ToolTip=\"kenpin GenTL-style test producer\" StandardNameSpace=\"None\" "
               "SchemaMajorVersion=\"1\" SchemaMinorVersion=\"1\" SchemaSubMinorVersion=\"0\" "
               "MajorVersion=\"1\" MinorVersion=\"0\" SubMinorVersion=\"0\" "
               "ProductGuid=\"6F3A1B52-2C2E-4D1A-9A59-5B0C3F6A7D10\" "
               "VersionGuid=\"0E8A7C64-51D3-4A3C-8C5E-8A9E6D2F4B11\" "
               "xmlns=\"http://www.genicam.org/GenApi/Version_1_1\">\n");
    add_categories(&page, device->encoder.each_line);
    for (int id = 0; id < F_COUNT; id++) add_feature(&page, (FeatureId)id);
    add_chunks(&page, device->encoder.each_line);
    add(&page, "<Port Name=\"Device\"/>\n</RegisterDescription>\n");
    if (device->faults.xml == XML_TRUNCATED) page.used /= 2;
    if (device->faults.xml == XML_BROKEN) memcpy(page.text + page.used / 2, "</Oops", 6);
    /* GenApi reads whole words of 4 bytes. */
    size_t room = (page.used + 3) / 4 * 4;
    if (!page.full && page.room >= room) {
        memset(page.text + page.used, '\n', room - page.used);
        device->xml = page.text;
        device->xml_size = page.used;
        device->xml_room = room;
        return NULL;
    }
    free(page.text);
    return "out of memory";
}
