/* The table of features. model.c gives them life, xml.c describes them to GenApi. */
#include <stddef.h>
#include <string.h>

#include "features.h"

/* Pixel format numbers: GenICam Pixel Format Naming Convention (PFNC), 32-bit values. */
static const Choice pixel_formats[] = {{"Mono8", 0x01080001},
                                       {"Mono10", 0x01100003},
                                       {"Mono12", 0x01100005},
                                       {"Mono14", 0x01100025},
                                       {"Mono16", 0x01100007},
                                       {"Mono10p", 0x010A0046},
                                       {"Mono12p", 0x010C0047},
                                       {"Mono10Packed", 0x010C0004},
                                       {"Mono12Packed", 0x010C0006},
                                       {"BayerGR8", 0x01080008},
                                       {"BayerRG8", 0x01080009},
                                       {"BayerGB8", 0x0108000A},
                                       {"BayerBG8", 0x0108000B},
                                       {"BayerRG10", 0x0110000D},
                                       {"BayerRG12", 0x01100011},
                                       {"BayerRG10Packed", 0x010C0027},
                                       {"BayerRG12Packed", 0x010C002B},
                                       {"RGB8", 0x02180014},
                                       {"BGR8", 0x02180015},
                                       {NULL, 0}};
static const Choice scan_types[] = {{"Areascan", 0}, {"Linescan", 1}, {NULL, 0}};
static const Choice acquisition_modes[] = {
    {"Continuous", CONTINUOUS}, {"SingleFrame", SINGLE_FRAME}, {"MultiFrame", MULTI_FRAME},
    {NULL, 0}};
static const Choice trigger_selectors[] = {{"FrameStart", TRIGGER_FRAME_START},
                                           {"LineStart", TRIGGER_LINE_START},
                                           {"FrameBurstStart", TRIGGER_BURST_START},
                                           {NULL, 0}};
static const Choice off_on[] = {{"Off", 0}, {"On", 1}, {NULL, 0}};
static const Choice trigger_sources[] = {{"Software", SOURCE_SOFTWARE},
                                         {"Line0", SOURCE_LINE0},
                                         {"Encoder0", SOURCE_ENCODER0},
                                         {NULL, 0}};
static const Choice activations[] = {
    {"RisingEdge", RISING_EDGE}, {"FallingEdge", FALLING_EDGE}, {"AnyEdge", ANY_EDGE}, {NULL, 0}};
static const Choice encoders[] = {{"Encoder0", 0}, {NULL, 0}};
static const Choice encoder_a[] = {{"Off", 0}, {"Line1", 1}, {NULL, 0}};
static const Choice encoder_b[] = {{"Off", 0}, {"Line2", 1}, {NULL, 0}};
static const Choice encoder_modes[] = {
    {"FourPhase", FOUR_PHASE}, {"HighResolution", HIGH_RESOLUTION}, {NULL, 0}};
static const Choice encoder_outputs[] = {{"Off", OUTPUT_OFF},
                                         {"PositionUp", POSITION_UP},
                                         {"PositionDown", POSITION_DOWN},
                                         {"DirectionUp", DIRECTION_UP},
                                         {"DirectionDown", DIRECTION_DOWN},
                                         {"Motion", MOTION},
                                         {NULL, 0}};
static const Choice encoder_states[] = {{"EncoderUp", ENCODER_UP},
                                        {"EncoderDown", ENCODER_DOWN},
                                        {"EncoderIdle", ENCODER_IDLE},
                                        {NULL, 0}};
static const Choice chunks[] = {{"FrameID", CHUNK_FRAME_ID},
                                {"Timestamp", CHUNK_TIMESTAMP},
                                {"EncoderValue", CHUNK_ENCODER_VALUE},
                                {"LineTriggerMissed", CHUNK_LINE_TRIGGER_MISSED},
                                {"ExposureTime", CHUNK_EXPOSURE_TIME},
                                {NULL, 0}};

#define DEVICE "DeviceControl"
#define FORMAT "ImageFormatControl"
#define ACQUIRE "AcquisitionControl"
#define ANALOG "AnalogControl"
#define ENCODER "EncoderControl"
#define CHUNK "ChunkDataControl"
#define TRANSPORT "TransportLayerControl"
#define COUNTER_MAX 9.0e15

#define TEXT(title, room, flag, initially) \
    {.name = title, .category = room, .type = T_STRING, .flags = flag, .text = initially}
#define INT(title, room, flag, least, most, every, initially)                               \
    {.name = title, .category = room, .type = T_INT, .flags = flag, .low = least,           \
     .high = most, .step = every, .initial = initially}
#define FLOAT(title, room, in, flag, least, most, initially)                                \
    {.name = title, .category = room, .unit = in, .type = T_FLOAT, .flags = flag,           \
     .low = least, .high = most, .initial = initially}
#define ENUM(title, room, flag, of, initially) \
    {.name = title, .category = room, .type = T_ENUM, .flags = flag, .choices = of, \
     .initial = initially}
#define BOOL(title, room, flag, initially)                                                  \
    {.name = title, .category = room, .type = T_BOOL, .flags = flag, .high = 1, .step = 1,  \
     .initial = initially}
#define COMMAND(title, room) {.name = title, .category = room, .type = T_COMMAND, .high = 1}

/* The limits of Width, OffsetX, AcquisitionLineRate and ExposureTime move: see model.c. */
const FeatureSpec feature_specs[F_COUNT] = {
    [F_DEVICE_VENDOR_NAME] = TEXT("DeviceVendorName", DEVICE, READ_ONLY | FIXED, "kenpin"),
    [F_DEVICE_MODEL_NAME] =
        TEXT("DeviceModelName", DEVICE, READ_ONLY | FIXED, "simulated line camera"),
    [F_DEVICE_VERSION] = TEXT("DeviceVersion", DEVICE, READ_ONLY | FIXED, "1"),
    [F_DEVICE_SERIAL_NUMBER] = TEXT("DeviceSerialNumber", DEVICE, READ_ONLY | FIXED, ""),
    [F_DEVICE_USER_ID] = TEXT("DeviceUserID", DEVICE, 0, ""),
    [F_DEVICE_SCAN_TYPE] = ENUM("DeviceScanType", DEVICE, READ_ONLY | FIXED, scan_types, 1),
    [F_DEVICE_TEMPERATURE] = FLOAT("DeviceTemperature", DEVICE, "C", READ_ONLY, -40, 125, 41),
    [F_TIMESTAMP_LATCH] = COMMAND("TimestampLatch", DEVICE),
    [F_TIMESTAMP_LATCH_VALUE] =
        INT("TimestampLatchValue", DEVICE, READ_ONLY, -COUNTER_MAX, COUNTER_MAX, 1, 0),

    [F_SENSOR_WIDTH] = INT("SensorWidth", FORMAT, READ_ONLY | FIXED, 16, 65536, 1, 2048),
    [F_WIDTH_MAX] = INT("WidthMax", FORMAT, READ_ONLY, 16, 65536, 1, 2048),
    [F_HEIGHT_MAX] = INT("HeightMax", FORMAT, READ_ONLY | FIXED, 1, MOST_LINES, 1, MOST_LINES),
    [F_WIDTH] = INT("Width", FORMAT, LOCKED, 16, 2048, 4, 2048),
    [F_HEIGHT] = INT("Height", FORMAT, LOCKED, 1, MOST_LINES, 1, 512),
    [F_OFFSET_X] = INT("OffsetX", FORMAT, LOCKED, 0, 0, 4, 0),
    [F_PIXEL_FORMAT] = ENUM("PixelFormat", FORMAT, LOCKED, pixel_formats, 0x01080001),

    [F_ACQUISITION_MODE] =
        ENUM("AcquisitionMode", ACQUIRE, LOCKED, acquisition_modes, CONTINUOUS),
    [F_ACQUISITION_FRAME_COUNT] =
        INT("AcquisitionFrameCount", ACQUIRE, LOCKED, 1, 65535, 1, 1),
    [F_ACQUISITION_BURST_FRAME_COUNT] =
        INT("AcquisitionBurstFrameCount", ACQUIRE, LOCKED, 1, 65535, 1, 1),
    [F_ACQUISITION_START] = COMMAND("AcquisitionStart", ACQUIRE),
    [F_ACQUISITION_STOP] = COMMAND("AcquisitionStop", ACQUIRE),
    [F_ACQUISITION_LINE_RATE_ENABLE] = BOOL("AcquisitionLineRateEnable", ACQUIRE, 0, 1),
    [F_ACQUISITION_LINE_RATE] =
        FLOAT("AcquisitionLineRate", ACQUIRE, "Hz", 0, 1, 140000, 10000),
    [F_RESULTING_LINE_RATE] =
        FLOAT("ResultingAcquisitionLineRate", ACQUIRE, "Hz", READ_ONLY, 1, 1000000, 10000),
    [F_EXPOSURE_TIME] = FLOAT("ExposureTime", ACQUIRE, "us", 0, 1, 100000, 8),
    [F_LINE_TIMEOUT_ENABLE] = BOOL("LineTimeoutEnable", ACQUIRE, 0, 0),
    [F_LINE_TIMEOUT] = FLOAT("LineTimeout", ACQUIRE, "us", 0, 1000, 10000000, 100000),
    [F_TRIGGER_SELECTOR] =
        ENUM("TriggerSelector", ACQUIRE, 0, trigger_selectors, TRIGGER_FRAME_START),
    [F_TRIGGER_MODE] = ENUM("TriggerMode", ACQUIRE, BY_TRIGGER, off_on, 0),
    [F_TRIGGER_SOURCE] =
        ENUM("TriggerSource", ACQUIRE, BY_TRIGGER, trigger_sources, SOURCE_SOFTWARE),
    [F_TRIGGER_ACTIVATION] =
        ENUM("TriggerActivation", ACQUIRE, BY_TRIGGER, activations, RISING_EDGE),
    [F_TRIGGER_DELAY] = FLOAT("TriggerDelay", ACQUIRE, "us", BY_TRIGGER, 0, 1000000, 0),
    [F_TRIGGER_SOFTWARE] = COMMAND("TriggerSoftware", ACQUIRE),
    [F_LINE_TRIGGER_MISSED] =
        INT("LineTriggerMissed", ACQUIRE, READ_ONLY, 0, COUNTER_MAX, 1, 0),
    [F_FRAME_TRIGGER_MISSED] =
        INT("FrameTriggerMissed", ACQUIRE, READ_ONLY, 0, COUNTER_MAX, 1, 0),

    [F_GAIN] = FLOAT("Gain", ANALOG, "", 0, 0.5, 16, 1),
    [F_BLACK_LEVEL] = FLOAT("BlackLevel", ANALOG, "DN", 0, 0, 64, 0),

    [F_ENCODER_SELECTOR] = ENUM("EncoderSelector", ENCODER, 0, encoders, 0),
    [F_ENCODER_SOURCE_A] = ENUM("EncoderSourceA", ENCODER, 0, encoder_a, 1),
    [F_ENCODER_SOURCE_B] = ENUM("EncoderSourceB", ENCODER, 0, encoder_b, 1),
    [F_ENCODER_MODE] = ENUM("EncoderMode", ENCODER, 0, encoder_modes, FOUR_PHASE),
    [F_ENCODER_DIVIDER] = INT("EncoderDivider", ENCODER, 0, 1, 65535, 1, 4),
    [F_ENCODER_OUTPUT_MODE] =
        ENUM("EncoderOutputMode", ENCODER, 0, encoder_outputs, POSITION_UP),
    [F_ENCODER_RESET] = COMMAND("EncoderReset", ENCODER),
    [F_ENCODER_VALUE] =
        INT("EncoderValue", ENCODER, READ_ONLY, -COUNTER_MAX, COUNTER_MAX, 1, 0),
    [F_ENCODER_STATUS] = ENUM("EncoderStatus", ENCODER, READ_ONLY, encoder_states, ENCODER_IDLE),

    [F_CHUNK_MODE_ACTIVE] = BOOL("ChunkModeActive", CHUNK, LOCKED, 0),
    [F_CHUNK_SELECTOR] = ENUM("ChunkSelector", CHUNK, 0, chunks, CHUNK_FRAME_ID),
    [F_CHUNK_ENABLE] = BOOL("ChunkEnable", CHUNK, LOCKED | BY_CHUNK, 1),

    [F_PAYLOAD_SIZE] = INT("PayloadSize", TRANSPORT, READ_ONLY, 0, COUNTER_MAX, 1, 0),
    [F_GEV_SCPS_PACKET_SIZE] =
        INT("GevSCPSPacketSize", TRANSPORT, LOCKED, 576, 9000, 4, 1500),
    [F_TL_PARAMS_LOCKED] = INT("TLParamsLocked", TRANSPORT, 0, 0, 1, 1, 0),
};

int feature_by_name(const char *name) {
    for (int id = 0; id < F_COUNT; id++)
        if (strcmp(feature_specs[id].name, name) == 0) return id;
    return -1;
}

bool feature_choice_known(FeatureId id, int64_t value) {
    for (const Choice *choice = feature_specs[id].choices; choice && choice->name; choice++)
        if (choice->value == value) return true;
    return false;
}
