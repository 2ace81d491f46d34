"""kenpin: finds defects in line-camera images from good images alone."""

__version__ = "0.1.0"
