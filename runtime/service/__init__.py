"""edge-run: the service on the line, one duty to a process."""
