"""Fair order of those who wait for a slot: by turns between transports, then by how many calls a client has already.

Without turns whoever comes back fastest takes every slot. Browsers wait until they get one, telephones ask again: a
slot that is free goes to one kind, the next one to the other. Among their own kind those go first whose client holds
the fewest calls, then whose client got one longest ago, so that no address gets more than its share while others wait;
then who came first.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

_MOST_REMEMBERED = 256


class Lane(Enum):
    """Kinds of callers that take turns."""

    WEB = "web"
    PHONE = "phone"


@dataclass(eq=False)
class Waiting:
    """Somebody who waits."""

    lane: Lane
    client: str
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is something to look at."""


class FairOrder:
    """Who is next, of those who wait."""

    def __init__(self, calls_of: Callable[[str], int]) -> None:
        """calls_of: how many calls a client holds now."""
        self._calls_of = calls_of
        self._waiting: dict[Lane, list[Waiting]] = {lane: [] for lane in Lane}
        self._ranked: dict[Lane, list[Waiting]] = {}
        self._last: Lane | None = None
        self._served = 0
        self._last_served: dict[str, int] = {}  # of clients that wait again, how many had been served before

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def everybody(self) -> list[Waiting]:
        """All who wait, in no particular order."""
        return [waiting for lane in self._waiting.values() for waiting in lane]

    def count(self, lane: Lane) -> int:
        """How many wait of this kind."""
        return len(self._waiting[lane])

    def add(self, waiting: Waiting) -> None:
        """Takes somebody in, behind those who were there before."""
        self._waiting[waiting.lane].append(waiting)
        self._forget()
        self.changed()

    def remove(self, waiting: Waiting, served: bool) -> None:
        """Lets somebody go. served: with a slot, so that it is the other kind's turn."""
        self._waiting[waiting.lane].remove(waiting)
        if served:
            self._last = waiting.lane
            self._served += 1
            self._last_served[waiting.client] = self._served
        self.changed()

    def changed(self) -> None:
        """Forgets the order: somebody's number of calls may be another."""
        self._ranked.clear()

    def position(self, waiting: Waiting) -> int:
        """The place among their own kind, 1 for the first."""
        return self._lane(waiting.lane).index(waiting) + 1

    def is_next(self, waiting: Waiting) -> bool:
        """Whether the next slot is theirs."""
        others = [lane for lane in Lane if lane is not waiting.lane and self._waiting[lane]]
        has_turn = not others or (self._last is not None and self._last is not waiting.lane)
        if self._last is None and others:
            has_turn = waiting.lane is Lane.WEB  # nobody was served yet
        return has_turn and self._lane(waiting.lane)[0] is waiting

    def _lane(self, lane: Lane) -> list[Waiting]:
        if lane not in self._ranked:
            self._ranked[lane] = list(self._by_share(self._waiting[lane]))
        return self._ranked[lane]

    def _by_share(self, waiting: list[Waiting]) -> Iterator[Waiting]:
        """Those first whose client has the least, counting what it gets before in this order."""
        of_client: defaultdict[str, deque[tuple[int, Waiting]]] = defaultdict(deque)
        for came, one in enumerate(waiting):
            of_client[one.client].append((came, one))
        heap = [
            (self._calls_of(client), self._last_served.get(client, 0), those[0][0], client)
            for client, those in of_client.items()
        ]
        heapq.heapify(heap)
        while heap:
            calls, last_served, _, client = heapq.heappop(heap)
            yield of_client[client].popleft()[1]
            if of_client[client]:
                heapq.heappush(heap, (calls + 1, last_served, of_client[client][0][0], client))

    def _forget(self) -> None:
        """What is remembered of clients that do not wait, once it is much."""
        if len(self._last_served) > _MOST_REMEMBERED:
            here = {waiting.client for waiting in self.everybody()}
            self._last_served = {client: at for client, at in self._last_served.items() if client in here}
