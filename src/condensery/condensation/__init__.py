"""The loop that every method is, and what carries a run out in its folder."""
