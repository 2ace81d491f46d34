"""Other protocols that a line can be reached by: each bridge a process, and a client of its own."""
