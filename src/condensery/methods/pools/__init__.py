"""Pools of trained networks: their files, and their training."""
