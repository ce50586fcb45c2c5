"""Records of conversations, sealed: they open as what was written at their place, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.store.record import HEAD, open_head, open_record, seal_head, seal_piece
from moshi_cluster.services.gateway.store.sealing import Damaged, Seal, name_of

ABOUT = {"checkpoint": "f1"}
CLUSTER_KEY = bytes(32)


def grown(frames: int, history: History | None = None) -> History:
    """A history of so many frames, each another one."""
    history = History() if history is None else history
    while history.total_frames < frames:
        number = history.total_frames
        history.append(number % 60_000, [number % 7, 1, 2], [number % 11, 4])
    return history


def record(seal: Seal, cuts: list[int], first: int = 0) -> dict[bytes, bytes]:
    """The fields of a record whose pieces end at these frames."""
    history, fields = grown(cuts[-1]), {}
    for begin, end in zip([first, *cuts], cuts, strict=False):
        fields[str(begin).encode()] = seal_piece(seal, history, begin, end)
    return fields | {HEAD: seal_head(seal, ABOUT, first, cuts[-1], history.width), b"owner": b"x", b"state": b"live"}


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 30))
def test_a_record_opens_as_the_frames_that_were_stored_wherever_it_was_cut(lengths: list[int], first: int) -> None:
    cuts = [first + sum(lengths[: index + 1]) for index in range(len(lengths))]
    stored = open_record(Seal(CLUSTER_KEY, "key"), record(Seal(CLUSTER_KEY, "key"), cuts, first))
    assert (stored.about, stored.first_frame, stored.total_frames) == (ABOUT, first, cuts[-1])
    assert stored.tokens == grown(cuts[-1]).tokens(first, cuts[-1])
    again = History.restored("f1", 3, stored.width, stored.first_frame, stored.tokens)
    assert again.last() == (first, grown(cuts[-1]).last()[1][first:])
    assert again.total_frames == cuts[-1]


def test_a_restored_history_grows_on_as_the_one_that_was_stored() -> None:
    history = grown(9)
    again = grown(14, History.restored("f1", 3, 6, 4, history.tokens(4, 9)))
    assert again.tokens(5, 14) == grown(14).tokens(5, 14)
    with pytest.raises(ValueError, match="half a frame"):
        History.restored("f1", 3, 6, 4, history.tokens(4, 9)[:-2])


Fields = dict[bytes, bytes]


def _flipped(fields: Fields) -> None:
    fields[b"3"] = fields[b"3"][:-1] + bytes([fields[b"3"][-1] ^ 1])


def _swapped(fields: Fields) -> None:
    fields[b"3"], fields[b"6"] = fields[b"6"], fields[b"3"]


def _old_head(fields: Fields) -> None:
    fields[HEAD] = record(Seal(CLUSTER_KEY, "another"), [3, 6, 9])[HEAD]


def _anothers_piece(fields: Fields) -> None:
    fields[b"3"] = record(Seal(CLUSTER_KEY, "another"), [3, 6, 9])[b"3"]


@pytest.mark.parametrize(
    "tamper",
    [
        _flipped,
        _swapped,
        _old_head,
        _anothers_piece,
        lambda fields: fields.pop(b"0"),
        lambda fields: fields.pop(b"3"),
        lambda fields: fields.pop(b"6"),
        lambda fields: fields.pop(HEAD),
        lambda fields: fields.update({HEAD: b""}),
        lambda fields: fields.update({b"3": fields[b"3"][:20]}),
        lambda fields: fields.update({b"6": record(Seal(CLUSTER_KEY, "key"), [3, 6, 8])[b"6"]}),  # an earlier one
    ],
)
def test_what_was_changed_swapped_or_cut_does_not_open(tamper: Callable[[Fields], object]) -> None:
    fields = record(Seal(CLUSTER_KEY, "key"), [3, 6, 9])
    assert open_record(Seal(CLUSTER_KEY, "key"), fields).total_frames == 9
    tamper(fields)
    with pytest.raises(Damaged):
        open_record(Seal(CLUSTER_KEY, "key"), fields)


@pytest.mark.parametrize(("cluster_key", "key"), [(bytes(31) + b"1", "key"), (CLUSTER_KEY, "another")])
def test_without_both_keys_nothing_opens(cluster_key: bytes, key: str) -> None:
    with pytest.raises(Damaged):
        open_head(Seal(cluster_key, key), record(Seal(CLUSTER_KEY, "key"), [3])[HEAD])


def test_the_same_frames_are_sealed_differently_every_time() -> None:
    seal, history = Seal(CLUSTER_KEY, "key"), grown(3)
    sealed = {seal_piece(seal, history, 0, 3) for _ in range(1000)}
    assert len({piece[:12] for piece in sealed}) == len(sealed) == 1000


def test_a_name_says_nothing_of_its_key() -> None:
    assert "secret" not in name_of("secret")
    assert name_of("one") != name_of("two")
    assert len(name_of("one")) == 32
