"""From a recipe's YAML, cases and overrides to a complete configuration."""
