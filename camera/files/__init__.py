"""Images and recordings on disk, in and out."""
