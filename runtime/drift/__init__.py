"""Whether pictures still look as the good images did, and what has changed if they do not."""
