"""Why a command ends without having done what it was asked."""

from __future__ import annotations


class BadInput(Exception):
    """Something given on the command line cannot be used; the message names it and the reason."""


class CallError(Exception):
    """The call failed; the message says where and why."""


class CallLost(CallError):
    """The call was lost on the way, or not taken at this moment: its resume token, if it has one, may go on with it."""
