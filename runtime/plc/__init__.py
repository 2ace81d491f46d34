"""edge-plc: a simulated PLC, for trying a line without one."""
