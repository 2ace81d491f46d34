"""Methods on backbones on data sets with seeds: one table, and where it went on from."""
