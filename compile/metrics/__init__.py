"""How well scores and maps tell defects from good material."""
