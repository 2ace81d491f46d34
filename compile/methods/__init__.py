"""Each method's fit: from features of good images to the statistics of a bundle."""
