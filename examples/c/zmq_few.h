/* The few parts of libzmq 4's stable C interface that the example needs, where its own header is
 * not installed: a wheel of pyzmq brings the library alone. */
#ifndef ZMQ_FEW_H
#define ZMQ_FEW_H
#if __has_include(<zmq.h>)
#include <zmq.h>
#else
#include <stddef.h>
enum { ZMQ_DEALER = 5, ZMQ_ROUTING_ID = 5, ZMQ_LINGER = 17, ZMQ_RCVTIMEO = 27 };
void *zmq_ctx_new(void);
int zmq_ctx_term(void *context);
void *zmq_socket(void *context, int type);
int zmq_setsockopt(void *socket, int option, const void *value, size_t size);
int zmq_connect(void *socket, const char *endpoint);
int zmq_send(void *socket, const void *bytes, size_t size, int flags);
int zmq_recv(void *socket, void *bytes, size_t size, int flags);
int zmq_close(void *socket);
#endif
#endif
