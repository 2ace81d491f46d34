"""MQTT: the line's own messages as JSON under topics, and commands of its clients back."""
