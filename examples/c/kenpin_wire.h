/* kenpin's struct encoding, version 1: docs/wire/struct.v1.md in C. Little-endian machines only.
 * Whatever comes has 96 bytes. Ask kenpin_sound() before you look at any field. */
#ifndef KENPIN_WIRE_H
#define KENPIN_WIRE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { KENPIN_MAGIC = 0x31504E4B, KENPIN_VERSION = 1, KENPIN_SIZE = 96 };
enum { KENPIN_OK = 1, KENPIN_NG = 2 };
enum { KENPIN_HELLO = 1, KENPIN_TRIGGER = 2, KENPIN_ACK = 3, KENPIN_STATUS = 4 };
enum { KENPIN_VERDICT = 32, KENPIN_STATE = 33, KENPIN_HB = 34 };
enum { KENPIN_TRIGGER_ACK = 48, KENPIN_ACQUIRED = 49, KENPIN_ERROR = 50 };
enum { KENPIN_READY = 5, KENPIN_SINGLE = 6, KENPIN_CONTINUOUS = 7 };
enum { KENPIN_STALE = 1, KENPIN_DUPLICATE = 2, KENPIN_PAUSED = 3 }; /* why an error */
enum { KENPIN_UNSURE = 1, KENPIN_PARTIAL = 2, KENPIN_LATE = 4, KENPIN_SIM = 8 };

typedef struct { uint32_t magic; uint8_t version, type; uint16_t size; } kenpin_head;
#define KENPIN_END uint16_t flags, session; uint32_t crc

typedef struct {
  kenpin_head head;
  uint64_t seq, trig, frame, t_mono_ns, bundle;
  int64_t enc, first_line;
  float score, thr;
  uint32_t lines, boot, lat_us;
  int16_t code;
  uint8_t verdict, zero;
  KENPIN_END;
} kenpin_verdict;

typedef struct { /* TRIGGER, and TRIGGER_ACK and ACQUIRED up to trig */
  kenpin_head head;
  uint64_t deadline_ns, trig;
  char recipe[48];
  uint32_t budget_us, zero[3];
  KENPIN_END;
} kenpin_trigger;

typedef struct { kenpin_head head; uint64_t seq, zero[9]; KENPIN_END; } kenpin_ack;

typedef struct {
  kenpin_head head;
  uint64_t last_seq, frames, ok, t_mono_ns, bundle, ng, zero[2];
  uint32_t unused, boot, unused2;
  uint8_t state, zero2[3];
  KENPIN_END;
} kenpin_state;

typedef struct { /* alarms have source[16] first */
  kenpin_head head;
  uint8_t about, why;
  uint16_t pause_ms; /* with KENPIN_PAUSED: until it is listened to again */
  uint8_t zero[4];
  uint64_t trig;
  char detail[48]; /* not always ended by a zero */
  uint32_t unused, boot, unused2[2];
  KENPIN_END;
} kenpin_error;

typedef union {
  kenpin_head head;
  kenpin_verdict verdict;
  kenpin_trigger trigger;
  kenpin_ack ack;
  kenpin_state state;
  kenpin_error error;
  struct { uint8_t body[88]; KENPIN_END; } any;
  uint8_t bytes[KENPIN_SIZE];
} kenpin_message;

_Static_assert(sizeof(kenpin_message) == KENPIN_SIZE, "a message has 96 bytes");
_Static_assert(offsetof(kenpin_verdict, score) == 64 && offsetof(kenpin_verdict, verdict) == 86 &&
               offsetof(kenpin_verdict, crc) == 92, "verdict");
_Static_assert(offsetof(kenpin_trigger, budget_us) == 72 && offsetof(kenpin_trigger, crc) == 92,
               "trigger");
_Static_assert(offsetof(kenpin_ack, crc) == 92, "ack");
_Static_assert(offsetof(kenpin_state, boot) == 76 && offsetof(kenpin_state, state) == 84 &&
               offsetof(kenpin_state, crc) == 92, "state");
_Static_assert(offsetof(kenpin_error, detail) == 24 && offsetof(kenpin_error, crc) == 92, "error");

/* CRC-32 of IEEE 802.3, as in zlib. */
static inline uint32_t kenpin_crc(const uint8_t *bytes, size_t count) {
  uint32_t crc = 0xFFFFFFFFu;
  while (count--) {
    crc ^= *bytes++;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
  }
  return ~crc;
}

/* An empty message of a type; fill it in, then seal it. */
static inline kenpin_message kenpin_new(uint8_t type) {
  kenpin_message m;
  memset(&m, 0, sizeof m);
  m.head = (kenpin_head){KENPIN_MAGIC, KENPIN_VERSION, type, KENPIN_SIZE};
  return m;
}

static inline void kenpin_seal(kenpin_message *m) {
  m->any.crc = kenpin_crc(m->bytes, offsetof(kenpin_verdict, crc));
}

/* Whether so many received bytes are a message of version 1 that arrived whole. */
static inline int kenpin_sound(const kenpin_message *m, int received) {
  return received == KENPIN_SIZE && m->head.magic == KENPIN_MAGIC &&
         m->head.version == KENPIN_VERSION && m->head.size == KENPIN_SIZE &&
         m->any.crc == kenpin_crc(m->bytes, offsetof(kenpin_verdict, crc));
}

/* Whether a verdict says OK and does not contradict itself: for eyes, of simulated frames too. NaN
 * in score or thr makes the comparison false. */
static inline int kenpin_says_ok(const kenpin_verdict *v) {
  return v->head.type == KENPIN_VERDICT && v->verdict == KENPIN_OK && v->code == 0 &&
         !(v->flags & (KENPIN_UNSURE | KENPIN_PARTIAL | KENPIN_LATE)) && v->score <= v->thr;
}

/* The only question a gate may ask of a verdict that is for its part (its `trig`, in its
 * `session`). A simulated one is for nobody's gate. */
static inline int kenpin_is_ok(const kenpin_verdict *v) {
  return kenpin_says_ok(v) && !(v->flags & KENPIN_SIM);
}
#endif
