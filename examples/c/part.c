/* Triggers parts and sorts them: a client of a line that speaks wire.encoding = "struct".
 *
 *   part ENDPOINT PARTS [BUDGET_MS [NAME]]
 *
 * No two clients of a line may have the same name; by default it holds the process's number.
 * Prints a line for each part. Exit code: 0 every part has its verdict, 1 some have none and were
 * rejected, 2 the line does not become ready. A part without a verdict in time is rejected. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "kenpin_wire.h"
#include "zmq_few.h"

static void *line;
static uint16_t session; /* of this run: no verdict of an earlier one is ours */

static long long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void say(kenpin_message m) {
  if (m.head.type <= KENPIN_TRIGGER) m.any.session = session;
  kenpin_seal(&m);
  zmq_send(line, m.bytes, sizeof m.bytes, 0);
}

/* The next sound message before `end_ms`; 0 if none came. Longer ones are cut, and unsound. */
static int hear(kenpin_message *m, long long end_ms) {
  for (long long left; (left = end_ms - now_ms()) > 0;) {
    int wait = (int)left;
    zmq_setsockopt(line, ZMQ_RCVTIMEO, &wait, sizeof wait);
    if (kenpin_sound(m, zmq_recv(line, m->bytes, sizeof m->bytes, 0))) return 1;
  }
  return 0;
}

static int ready(long long end_ms) {
  kenpin_message m;
  while (now_ms() < end_ms) {
    say(kenpin_new(KENPIN_HELLO));
    for (long long next = now_ms() + 200; hear(&m, next);)
      if (m.head.type == KENPIN_STATE && m.state.session == session &&
          m.state.state == KENPIN_READY)
        return 1;
  }
  return 0;
}

/* 1 and the verdict on this part, acknowledged; 0 if there is none in time. */
static int judge(uint64_t part, int budget_ms, kenpin_verdict *verdict) {
  kenpin_message m = kenpin_new(KENPIN_TRIGGER);
  m.trigger.trig = part;
  m.trigger.budget_us = (uint32_t)budget_ms * 1000u;
  say(m);
  for (long long end = now_ms() + budget_ms + 10; hear(&m, end);) {
    if (m.head.type == KENPIN_ACQUIRED && m.trigger.trig == part) puts("  may move");
    if (m.head.type == KENPIN_ERROR) printf("  refused: %.48s\n", m.error.detail);
    if (m.head.type != KENPIN_VERDICT || m.verdict.session != session) continue;
    kenpin_message ack = kenpin_new(KENPIN_ACK); /* also for one that comes again */
    ack.ack.seq = m.verdict.seq;
    say(ack);
    if (m.verdict.trig == part) return *verdict = m.verdict, 1;
  }
  return 0;
}

int main(int count, char **words) {
  if (count < 3) return fprintf(stderr, "part ENDPOINT PARTS [BUDGET_MS [NAME]]\n"), 2;
  int parts = atoi(words[2]), budget_ms = count > 3 ? atoi(words[3]) : 100, missing = 0, none = 0;
  void *context = zmq_ctx_new();
  line = zmq_socket(context, ZMQ_DEALER);
  char name[32]; /* no two clients may share one */
  snprintf(name, sizeof name, "c-example-%ld", (long)getpid());
  const char *known_as = count > 4 ? words[4] : name;
  zmq_setsockopt(line, ZMQ_ROUTING_ID, known_as, strlen(known_as));
  session = (uint16_t)(1 + (time(NULL) ^ getpid()) % 32767); /* another one at each start */
  zmq_setsockopt(line, ZMQ_LINGER, &none, sizeof none);
  if (zmq_connect(line, words[1])) return fprintf(stderr, "no address: %s\n", words[1]), 2;
  printf("%s in session %u\n", known_as, session);
  if (!ready(now_ms() + 5000)) return fprintf(stderr, "the line is not ready\n"), 2;
  for (int part = 0; part < parts; part++, fflush(stdout)) {
    kenpin_verdict v;
    const char *sim = "";
    int judged = judge((uint64_t)part + 1, budget_ms, &v);
    if (judged && v.flags & KENPIN_SIM) sim = " (simulated)";
    if (!judged) {
      missing++;
      printf("part %d REJECT: no verdict\n", part);
    } else if (kenpin_is_ok(&v)) {
      printf("part %d PASS score %.6g <= %.6g, %u us\n", part, v.score, v.thr, v.lat_us);
    } else if (kenpin_says_ok(&v)) { /* nothing real may act on it */
      printf("part %d WOULD PASS score %.6g <= %.6g, %u us%s\n", part, v.score, v.thr, v.lat_us,
             sim);
    } else {
      printf("part %d REJECT: reason %d, score %.6g%s\n", part, v.code, v.score, sim);
    }
  }
  struct timespec moment = {0, 50000000}; /* the last ACK is still on its way */
  nanosleep(&moment, NULL);
  zmq_close(line);
  zmq_ctx_term(context);
  return missing > 0;
}
