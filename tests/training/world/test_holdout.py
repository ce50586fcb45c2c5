"""Which combinations are held out must never change: a checkpoint was trained without them."""

from __future__ import annotations

from training.world.holdout import held_out


def test_the_choice_is_the_same_everywhere() -> None:
    chosen = [number for number in range(40) if held_out("kind", str(number), one_in=4)]
    assert chosen == [0, 1, 3, 5, 7, 10, 11, 13, 16, 17, 19, 22, 23, 27, 29, 35, 36, 39]


def test_about_one_in_n_is_held_out() -> None:
    count = sum(held_out("kind", str(number), one_in=5) for number in range(5000))
    assert 900 < count < 1100
