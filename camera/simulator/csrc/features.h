/* The features a user of the camera sees: SFNC names for line scan, types, limits, registers. */
#ifndef KENPIN_FEATURES_H
#define KENPIN_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    F_DEVICE_VENDOR_NAME,
    F_DEVICE_MODEL_NAME,
    F_DEVICE_VERSION,
    F_DEVICE_SERIAL_NUMBER,
    F_DEVICE_USER_ID,
    F_DEVICE_SCAN_TYPE,
    F_DEVICE_TEMPERATURE,
    F_TIMESTAMP_LATCH,
    F_TIMESTAMP_LATCH_VALUE,
    F_SENSOR_WIDTH,
    F_WIDTH_MAX,
    F_HEIGHT_MAX,
    F_WIDTH,
    F_HEIGHT,
    F_OFFSET_X,
    F_PIXEL_FORMAT,
    F_ACQUISITION_MODE,
    F_ACQUISITION_FRAME_COUNT,
    F_ACQUISITION_BURST_FRAME_COUNT,
    F_ACQUISITION_START,
    F_ACQUISITION_STOP,
    F_ACQUISITION_LINE_RATE_ENABLE,
    F_ACQUISITION_LINE_RATE,
    F_RESULTING_LINE_RATE,
    F_EXPOSURE_TIME,
    F_LINE_TIMEOUT_ENABLE,
    F_LINE_TIMEOUT,
    F_TRIGGER_SELECTOR,
    F_TRIGGER_MODE,
    F_TRIGGER_SOURCE,
    F_TRIGGER_ACTIVATION,
    F_TRIGGER_DELAY,
    F_TRIGGER_SOFTWARE,
    F_LINE_TRIGGER_MISSED,
    F_FRAME_TRIGGER_MISSED,
    F_GAIN,
    F_BLACK_LEVEL,
    F_ENCODER_SELECTOR,
    F_ENCODER_SOURCE_A,
    F_ENCODER_SOURCE_B,
    F_ENCODER_MODE,
    F_ENCODER_DIVIDER,
    F_ENCODER_OUTPUT_MODE,
    F_ENCODER_RESET,
    F_ENCODER_VALUE,
    F_ENCODER_STATUS,
    F_CHUNK_MODE_ACTIVE,
    F_CHUNK_SELECTOR,
    F_CHUNK_ENABLE,
    F_PAYLOAD_SIZE,
    F_GEV_SCPS_PACKET_SIZE,
    F_TL_PARAMS_LOCKED,
    F_COUNT
} FeatureId;

typedef enum { T_INT, T_FLOAT, T_BOOL, T_ENUM, T_COMMAND, T_STRING } FeatureType;

enum { /* what a feature's flags say */
    READ_ONLY = 1,
    LOCKED = 2,     /* not writable while TLParamsLocked is 1 */
    BY_TRIGGER = 4, /* one value for each TriggerSelector */
    BY_CHUNK = 8,   /* one value for each ChunkSelector */
    FIXED = 16,     /* never changes while the device is open: may be cached */
};

#define MOST_LINES 65536 /* of a frame */
#define SELECTIONS 5
#define FEATURE_TEXT 64

typedef union {
    int64_t i;
    double f;
    char text[FEATURE_TEXT];
} FeatureValue;

typedef struct {
    const char *name;
    int64_t value;
} Choice;

typedef struct {
    const char *name, *category, *unit;
    FeatureType type;
    unsigned flags;
    double low, high, step, initial;
    const Choice *choices; /* ends with a NULL name */
    const char *text;      /* initial value of a T_STRING */
} FeatureSpec;

extern const FeatureSpec feature_specs[F_COUNT];

/* Registers: each feature has 128 bytes; value, low, high and step lie 8 bytes apart, a string
 * takes the first 64 bytes. */
#define REGISTER_BASE 0x10000u
#define REGISTER_STRIDE 128u
#define REGISTER_LOW 8u
#define REGISTER_HIGH 16u
#define REGISTER_STEP 24u
#define XML_BASE 0x1000000u

int feature_by_name(const char *name); /* -1: no such feature */
bool feature_choice_known(FeatureId id, int64_t value);

enum { TRIGGER_FRAME_START, TRIGGER_LINE_START, TRIGGER_BURST_START };
enum { SOURCE_SOFTWARE, SOURCE_LINE0, SOURCE_ENCODER0 };
enum { RISING_EDGE, FALLING_EDGE, ANY_EDGE };
enum { CONTINUOUS, SINGLE_FRAME, MULTI_FRAME };
enum { FOUR_PHASE, HIGH_RESOLUTION };
enum {
    OUTPUT_OFF,
    POSITION_UP,
    POSITION_DOWN,
    DIRECTION_UP,
    DIRECTION_DOWN,
    MOTION
};
enum { ENCODER_UP, ENCODER_DOWN, ENCODER_IDLE };
enum {
    CHUNK_FRAME_ID,
    CHUNK_TIMESTAMP,
    CHUNK_ENCODER_VALUE,
    CHUNK_LINE_TRIGGER_MISSED,
    CHUNK_EXPOSURE_TIME
};

#endif
