"""A live conversation from the terminal."""
