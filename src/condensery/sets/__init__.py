"""Condensed sets and those from elsewhere; pictures, sound and plain formats."""
