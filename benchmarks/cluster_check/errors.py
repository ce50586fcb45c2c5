"""What ends a check."""


class CheckFailed(Exception):
    """The check cannot go on; the message says why."""
