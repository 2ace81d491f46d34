"""One frame in, one verdict out: tiles, network, distances, map, verdict."""
