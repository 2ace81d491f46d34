"""Bundles on disk: read, verified, stored, signed."""
