"""GenICam cameras, through Harvesters and GenTL."""
