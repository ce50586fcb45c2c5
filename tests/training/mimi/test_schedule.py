"""The plan of the training."""

from __future__ import annotations

from training.mimi.schedule import CODES_FINAL, phase

BUDGET_S = 1000.0
FREEZE_S = CODES_FINAL * BUDGET_S
LATE = 500  # steps, after the warm-up


def test_the_rate_rises_at_first() -> None:
    assert phase(0, BUDGET_S, 0, None).learning_rate < phase(0, BUDGET_S, LATE, None).learning_rate


def test_rates_fall_and_start_anew_for_the_decoder() -> None:
    coding = [phase(FREEZE_S * part, BUDGET_S, LATE, None) for part in (0.0, 0.5, 0.99)]
    decoding = [phase(spent_s, BUDGET_S, LATE, FREEZE_S) for spent_s in (FREEZE_S, 800, BUDGET_S)]
    for phases in (coding, decoding):
        rates = [one.learning_rate for one in phases]
        assert rates == sorted(rates, reverse=True) and rates[-1] > 0
    assert decoding[0].learning_rate > coding[-1].learning_rate
    assert not any(one.codes_final for one in coding)
    assert all(one.codes_final for one in decoding)


def test_codes_become_final_when_their_time_is_over() -> None:
    assert not phase(FREEZE_S - 1, BUDGET_S, LATE, None).codes_final
    assert phase(FREEZE_S, BUDGET_S, LATE, None).codes_final


def test_more_time_does_not_make_final_codes_move_again() -> None:
    assert phase(BUDGET_S, 10 * BUDGET_S, LATE, FREEZE_S).codes_final
