"""OPC UA: a line as the vision system of the companion specification OPC 40100-1."""
