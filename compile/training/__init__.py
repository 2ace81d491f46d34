"""Networks that are trained on good images, and whose output is the map: a file for each method."""
