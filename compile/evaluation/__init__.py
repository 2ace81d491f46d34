"""What a bundle finds on labelled images, and whether it says what it should."""
