"""MQTT: the line's own messages as JSON under topics, and a Sparkplug B node."""
