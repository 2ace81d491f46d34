"""What a line says and hears over ZeroMQ: messages, encodings, sockets, keys, a client."""
