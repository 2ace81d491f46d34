"""Processes beside the line: archive, preview, rolls, status."""
