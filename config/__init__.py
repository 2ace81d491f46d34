"""The settings trees, every unit in the name."""
