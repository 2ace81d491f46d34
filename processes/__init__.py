"""Processes beside each other: channels, signs of life, shared memory, and one handle."""
