"""Where OK ends: scores of good images and of drawn defects, each without its own part."""
