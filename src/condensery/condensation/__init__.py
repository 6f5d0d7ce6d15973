"""The loop that every method shares, and what runs it in its folder."""
