"""Fair order in simulated time: who gets the slots of a machine that many want."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from moshi_cluster.services.gateway.admission.fair_order import FairOrder, Lane, Waiting

WEB, PHONE = Lane.WEB, Lane.PHONE


@dataclass
class Crowd:
    """Clients who each want a call again as soon as one has ended, in front of a few slots."""

    slots: int
    call_s: float
    calls: Counter[str] = field(default_factory=Counter)
    """Running now, of each client."""
    served: Counter[tuple[Lane, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.order = FairOrder(self.calls.__getitem__)
        self._ends: list[tuple[float, int, Waiting]] = []
        self._begun = 0

    def run(self, crowd: list[tuple[Lane, str]], end_s: float) -> None:
        for lane, client in crowd:
            self.order.add(Waiting(lane, client))
        now_s = 0.0
        while now_s < end_s:
            self._serve(now_s)
            now_s, _, over = heapq.heappop(self._ends)
            self.calls[over.client] -= 1
            self.order.add(Waiting(over.lane, over.client))  # at once, before anybody was offered the slot

    def _serve(self, now_s: float) -> None:
        while len(self._ends) < self.slots and len(self.order):
            (first,) = [waiting for waiting in self.order.everybody() if self.order.is_next(waiting)]
            self.order.remove(first, served=True)
            self.calls[first.client] += 1
            self.served[first.lane, first.client] += 1
            self._begun += 1
            heapq.heappush(self._ends, (now_s + self.call_s, self._begun, first))

    def of(self, lane: Lane) -> int:
        return sum(count for (served_lane, _), count in self.served.items() if served_lane is lane)


def test_browsers_that_come_back_at_once_leave_telephones_every_other_slot() -> None:
    crowd = Crowd(slots=8, call_s=1.5)
    crowd.run([(WEB, "here")] * 12 + [(PHONE, "here")] * 4, end_s=200.0)
    assert crowd.of(PHONE) >= 0.9 * 4 * 200 / 1.5, "they always find a slot: four of eight are theirs"
    assert crowd.of(WEB) >= 0.9 * 4 * 200 / 1.5


@given(web=st.integers(1, 30), phones=st.integers(1, 30), slots=st.integers(1, 8))
def test_neither_kind_waits_for_more_than_one_of_the_other(web: int, phones: int, slots: int) -> None:
    crowd = Crowd(slots, call_s=1.0)
    crowd.run([(WEB, "a")] * web + [(PHONE, "b")] * phones, end_s=20.0)
    least = min(web, phones, slots // 2) * 19
    assert crowd.of(WEB) >= least and crowd.of(PHONE) >= least


@settings(max_examples=50)
@given(many=st.integers(2, 20), few=st.integers(1, 4), slots=st.integers(2, 8))
def test_one_address_gets_no_more_than_its_share_while_others_wait(many: int, few: int, slots: int) -> None:
    crowd = Crowd(slots, call_s=1.0)
    crowd.run([(WEB, "greedy")] * many + [(WEB, f"modest {number}") for number in range(few)], end_s=50.0)
    share = slots / (few + 1)
    for number in range(few):
        assert crowd.served[WEB, f"modest {number}"] >= int(min(1.0, share) * 45)


@given(clients=st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_everyone_has_a_position_of_their_own_and_the_first_is_next(clients: list[str]) -> None:
    order = FairOrder(lambda client: 0)
    everyone = [Waiting(WEB, client) for client in clients]
    for waiting in everyone:
        order.add(waiting)
    assert sorted(order.position(waiting) for waiting in everyone) == list(range(1, len(clients) + 1))
    assert [order.position(waiting) == 1 for waiting in everyone] == [order.is_next(waiting) for waiting in everyone]
    by_client = {client: [order.position(w) for w in everyone if w.client == client] for client in clients}
    assert all(positions == sorted(positions) for positions in by_client.values()), "who came first goes first"
