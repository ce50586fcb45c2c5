"""Figures hold or they do not."""

from __future__ import annotations

from pathlib import Path

from training.evaluate.figures import broken, comparison, expected, figures_of, lowest, read_card, write_card
from training.evaluate.report import Count, EvaluationReport

CARD = {"right": Count(460, 500), "understood": Count(420, 460), "quiet": Count(8, 8)}


def test_what_is_written_is_read_and_other_sections_stay(tmp_path: Path) -> None:
    assert read_card(tmp_path) == {}
    write_card(tmp_path, "offline", CARD)
    write_card(tmp_path, "cluster", {"right": Count(1, 2)})
    write_card(tmp_path, "cluster", {"right": Count(2, 2)})
    assert read_card(tmp_path) == {"offline": CARD, "cluster": {"right": Count(2, 2)}}


def test_the_readme_beside_them_has_them_as_a_table_and_nothing_else_changes(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    begin, end = "<!-- figures: written by python -m training.evaluate.live --write -->", "<!-- end of figures -->"
    readme.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    write_card(tmp_path, "offline", CARD)
    lines = readme.read_text().splitlines()
    assert [lines[0], lines[1], *lines[-2:]] == ["before", begin, end, "after"]
    assert lines[2:5] == ["|  | offline |", "| --- | --- |", "| answers exactly right | 460 of 500 (92.0 %) |"]
    assert "old" not in lines


def test_a_report_has_every_figure() -> None:
    report = EvaluationReport(answers={"plus": Count(3, 4)}, understood=Count(2, 3))
    found = figures_of(report)
    assert (found["right"], found["understood"], found["quiet"]) == (Count(3, 4), Count(2, 3), Count(0, 0))


def test_two_points_less_of_the_same_exchanges_hold_and_more_do_not() -> None:
    assert broken(CARD | {"right": Count(450, 500)}, CARD) == []
    assert broken(CARD | {"right": Count(449, 500)}, CARD) == [
        "answers exactly right: 449 of 500 (89.8 %), the card says 92.0 %"
    ]


def test_fewer_exchanges_may_be_harder_by_chance_but_not_by_much() -> None:
    shares = [lowest("right", CARD["right"], asked) for asked in (20, 100, 500)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]
    assert broken({"right": Count(16, 20)}, CARD) == []
    assert broken({"right": Count(15, 20)}, CARD)


def test_what_did_not_occur_breaks_nothing() -> None:
    assert broken({"right": Count(20, 20), "quiet": Count(0, 0)}, CARD) == []


def test_the_text_is_compared_with_the_offline_figure_and_the_rest_with_its_own() -> None:
    card = {"offline": CARD, "cluster": {"right": Count(400, 500), "quiet": Count(7, 8)}}
    assert expected(card, "cluster") == {"right": CARD["right"], "quiet": Count(7, 8)}
    assert expected(card, "offline") == CARD


def test_a_card_without_such_figures_does_not_hold() -> None:
    assert broken(CARD, expected({}, "cluster")) == ["the card has none for such calls"]


def test_measured_figures_stand_beside_the_cards() -> None:
    header, row, *_ = comparison({"right": Count(1, 2)}, {"offline": CARD, "cluster": {}}).splitlines()
    assert header.split() == ["measured", "offline", "cluster"]
    assert row == "answers exactly right  1 of 2 (50.0 %)  460 of 500 (92.0 %)"
