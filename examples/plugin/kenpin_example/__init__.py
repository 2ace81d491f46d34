"""One of each kind that kenpin finds by name, to copy from."""
