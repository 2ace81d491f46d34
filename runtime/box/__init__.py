"""The box under a line: what makes it late, its disks, who listens on it, and how fast it is."""
