"""The command: one file a subcommand, which says what it does in terms of the rooms below."""
