"""Where and how the work runs: plans, devices, processes, randomness and provenance."""
