"""The live page of a line: what it shows, who may do what, and how it is served."""
