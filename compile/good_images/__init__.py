"""The images to learn from: found, looked through, divided into parts, changed a little."""
