"""Modbus TCP: a register map that PLC programmers know, and no promise lost on the way."""
