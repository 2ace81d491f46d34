"""The process that inspects: its handle, its body, who starts and who replaces it."""
