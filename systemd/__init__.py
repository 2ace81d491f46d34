"""What systemd needs to run lines: data, which `edge-run install` puts in place."""
