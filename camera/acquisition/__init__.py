"""The process that owns the camera, and the ring of frames that it fills."""
