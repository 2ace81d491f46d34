"""Sparkplug B 3.0: the line as a device of an edge node, its messages as metrics."""
