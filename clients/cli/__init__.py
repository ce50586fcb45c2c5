"""The command-line client: a live conversation, or one call with a recording."""
