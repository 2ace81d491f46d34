"""The service on the line: one verdict for every trigger, in time, whatever happens."""
