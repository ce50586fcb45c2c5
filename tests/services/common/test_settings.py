"""Settings from flags and environment; a bad one is named and refused."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.common.settings import SettingError, describe, load, setting
from moshi_cluster.services.lm.settings import LmSettings


@dataclass(frozen=True)
class Example:
    slots: int = setting(8, "Slots, 100% of them.", minimum=1, maximum=64)
    limit_s: float = setting(1.5, "A limit.", minimum=0.1)
    dtype: str = setting("auto", "A type.", choices=("auto", "float32"))
    context: int | None = setting(None, "Maybe a number.", minimum=2)
    tokens: tuple[str, ...] = setting((), "A list.")
    quiet: bool = setting(False, "A switch.")


def read(*argv: str, **environment: str) -> Example:
    return load(Example, "EX_", argv, environment)


def test_defaults_hold_where_nothing_is_said() -> None:
    assert read() == Example(8, 1.5, "auto", None, (), False)


def test_values_are_read_from_the_environment() -> None:
    given = read(EX_SLOTS="3", EX_LIMIT_S="0.5", EX_DTYPE="float32", EX_CONTEXT="9", EX_TOKENS="a, b,", EX_QUIET="yes")
    assert given == Example(3, 0.5, "float32", 9, ("a", "b"), True)


def test_flags_win_over_the_environment() -> None:
    assert read("--slots", "5", "--limit-s=2", EX_SLOTS="3") == Example(slots=5, limit_s=2.0)


def test_an_empty_text_means_none_where_none_is_possible() -> None:
    assert read(EX_CONTEXT="").context is None


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("No", False), ("FALSE", False)])
def test_switches_know_the_usual_words(text: str, value: bool) -> None:
    assert read(EX_QUIET=text).quiet is value


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("EX_SLOTS", "many", "expected int, got 'many'"),
        ("EX_SLOTS", "", "expected int, got ''"),
        ("EX_SLOTS", "1.5", "expected int"),
        ("EX_SLOTS", "0", "0 is below 1"),
        ("EX_SLOTS", "65", "65 is above 64"),
        ("EX_LIMIT_S", "0.01", "0.01 is below 0.1"),
        ("EX_LIMIT_S", "nan", "not a number"),
        ("EX_CONTEXT", "1", "1 is below 2"),
        ("EX_DTYPE", "float8", "'float8' is none of auto, float32"),
        ("EX_QUIET", "maybe", "expected true or false"),
        ("EX_SLOT", "3", "no such setting"),
    ],
)
def test_a_bad_variable_is_refused_by_name(name: str, text: str, problem: str) -> None:
    with pytest.raises(SettingError, match=f"^{name}: {problem}"):
        read(**{name: text})


def test_a_bad_flag_is_refused_by_its_variables_name() -> None:
    with pytest.raises(SettingError, match="^EX_SLOTS: 0 is below 1"):
        read("--slots=0")


def test_variables_of_others_are_left_alone() -> None:
    assert read(PATH="/bin", EXTRA="1") == Example()


@pytest.mark.parametrize(
    ("flags", "named"), [(["--slot", "3"], "--slot"), (["--slots"], "--slots"), (["stray"], "stray")]
)
def test_a_flag_that_is_none_is_refused_by_its_name(flags: list[str], named: str) -> None:
    with pytest.raises(SettingError) as refused:
        read(*flags)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_help_tells_meaning_default_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "--slots VALUE Slots, 100% of them. Default: 8. Variable: EX_SLOTS." in text


def test_a_settings_object_never_changes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read().slots = 4  # type: ignore[misc]


def test_describe_shows_every_setting() -> None:
    line = describe(read())
    assert line == "slots=8 limit_s=1.5 dtype='auto' context=None tokens=() quiet=False"


@pytest.mark.parametrize("cls", [CodecSettings, LmSettings])
def test_every_services_defaults_pass_their_own_checks(cls: type) -> None:
    for field in dataclasses.fields(cls):
        if field.default is not None:
            load(cls, "X_", [f"--{field.name.replace('_', '-')}", str(field.default)], {})
