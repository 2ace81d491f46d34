"""Reports for people: one self-contained page of a build or an evaluation."""
