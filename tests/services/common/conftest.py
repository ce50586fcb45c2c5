"""What the tests of the services' common parts share."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def root_as_before() -> Iterator[None]:
    """What a service sets for its process, set back."""
    root, raising, switch_interval_s = logging.getLogger(), logging.raiseExceptions, sys.getswitchinterval()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.raiseExceptions = raising
    sys.setswitchinterval(switch_interval_s)
