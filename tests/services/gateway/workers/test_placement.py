"""Where a call is placed, and where it may move: one checkpoint of each service, both of one shape of codes."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moshi_cluster.services.common.code_shape import CodeShape
from moshi_cluster.services.gateway.workers.placement import Successor, placements

EIGHT, FOUR = CodeShape(8, 8, 64), CodeShape(4, 4, 64)


def worker(
    checkpoint: str, codes: CodeShape | None = EIGHT, free_slots: int = 1, codec: str = "", draining: bool = False
) -> Any:
    """As much of a worker as placement looks at. codec: the checkpoint that belongs to an lm's."""
    return SimpleNamespace(
        checkpoint=checkpoint, codes=codes, free_slots=free_slots, codec_checkpoint=codec, is_draining=draining
    )


def placed(codecs: list[Any], lms: list[Any], lm_checkpoint: str = "") -> list[tuple[str, str]]:
    """The checkpoints of codec and lm, in the order in which they are tried."""
    pools: list[Any] = [SimpleNamespace(usable=workers) for workers in (codecs, lms)]
    return [(each.codec_checkpoint, each.lm_checkpoint) for each in placements(*pools, lm_checkpoint)]


def test_those_that_belong_together_are_tried_first_however_few_slots_they_have() -> None:
    codecs = [worker("c-old", free_slots=99), worker("c-new")]
    lms = [worker("l-old", codec="c-old"), worker("l-new", codec="c-new", free_slots=99)]
    order = placed(codecs, lms)
    assert set(order[:2]) == {("c-old", "l-old"), ("c-new", "l-new")}
    assert set(order[2:]) == {("c-old", "l-new"), ("c-new", "l-old")}


def test_among_equals_those_with_the_most_free_slots_are_tried_first() -> None:
    codecs = [worker("c", free_slots=2), worker("c", free_slots=3)]
    lms = [worker("l-few", free_slots=1), worker("l-many", free_slots=4), worker("l-some", free_slots=2)]
    assert placed(codecs, lms) == [("c", "l-many"), ("c", "l-some"), ("c", "l-few")]


def test_who_is_full_is_tried_last() -> None:
    lms = [worker("l-full", codec="c", free_slots=0), worker("l-free", codec="other")]
    assert placed([worker("c")], lms) == [("c", "l-free"), ("c", "l-full")]


def test_a_conversation_that_has_begun_goes_on_with_its_own_checkpoint_only() -> None:
    lms = [worker("l-old", codec="c-old"), worker("l-new", codec="c-new")]
    assert placed([worker("c-new"), worker("c-old")], lms, "l-old") == [("c-old", "l-old"), ("c-new", "l-old")]
    assert placed([worker("c-old")], lms, "l-lost") == []


def test_a_codec_with_another_number_of_codebooks_is_never_tried_although_it_belongs_to_the_lm() -> None:
    assert placed([worker("c", FOUR, free_slots=9), worker("other")], [worker("l", codec="c")]) == [("other", "l")]


@given(
    codecs=st.lists(st.builds(worker, st.sampled_from("ab"), st.sampled_from([EIGHT, FOUR, None]), st.integers(0, 3))),
    lms=st.lists(
        st.builds(
            worker, st.sampled_from("xy"), st.sampled_from([EIGHT, FOUR]), st.integers(0, 3), st.sampled_from(["", "a"])
        )
    ),
    lm_checkpoint=st.sampled_from(["", "x"]),
)
def test_every_two_workers_that_may_share_a_call_are_tried_and_no_others(
    codecs: list[Any], lms: list[Any], lm_checkpoint: str
) -> None:
    pools: list[Any] = [SimpleNamespace(usable=workers) for workers in (codecs, lms)]
    tried = placements(*pools, lm_checkpoint)
    for one, other in itertools.product(codecs, lms):
        fits = one.codes == other.codes and lm_checkpoint in ("", other.checkpoint)
        assert fits == any(each.suits_codec(one) and each.suits_lm(other) for each in tried)


@pytest.mark.parametrize(
    ("candidate", "suits"),
    [
        (worker("c"), True),
        (worker("other"), False),
        (worker("c", FOUR), False),  # the same weights with fewer codebooks
        (worker("c", None), False),
        (worker("c", draining=True), False),
    ],
)
def test_a_call_moves_to_what_it_has_now_and_not_to_one_that_leaves(candidate: Any, suits: bool) -> None:
    assert Successor("c", EIGHT).suits(candidate) is suits
    assert not Successor("c", EIGHT, leave=candidate).suits(candidate)


def test_a_call_that_has_lost_its_worker_moves_even_to_one_that_leaves() -> None:
    assert Successor("c", EIGHT, even_leaving=True).suits(worker("c", draining=True))
