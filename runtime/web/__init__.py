"""Continuous webs: no seam between frames, every line judged once."""
