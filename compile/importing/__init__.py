"""Networks that somebody else made."""
