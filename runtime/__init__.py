"""What runs on the box: one frame in, one verdict out."""
