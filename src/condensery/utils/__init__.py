"""Files, locks, signals, checkpoints, progress and text."""
