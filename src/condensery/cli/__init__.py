"""The command: one file per subcommand, which says what it does in terms of the rooms below."""
