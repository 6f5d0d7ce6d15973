"""Training networks: protocols, one network or several in a call."""
