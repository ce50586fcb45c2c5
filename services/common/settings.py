"""One frozen settings object per service, read from flags and environment, checked once at start."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

S = TypeVar("S")


class SettingError(ValueError):
    """A setting has an impossible value; the message names the setting."""


def setting(
    default: Any,
    help_text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A dataclass field with what a setting needs beside its type: a text for people and a range."""
    metadata = {"help": help_text, "minimum": minimum, "maximum": maximum, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=metadata)


def load(
    cls: type[S], prefix: str, argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
) -> S:
    """Reads `cls` (a frozen dataclass of `setting` fields): flags win over the environment, which wins over defaults.

    The field `metrics_port` is the flag `--metrics-port` and the variable `<prefix>METRICS_PORT`.

    Raises SettingError for a bad value, and for a flag or a variable with the prefix that is no setting (a misspelt
    one).
    """
    environment = os.environ if environment is None else environment
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    known = {prefix + name.upper() for name in fields}
    unknown = sorted(name for name in environment if name.startswith(prefix) and name not in known)
    if unknown:
        raise SettingError(f"{unknown[0]}: no such setting; known are {', '.join(sorted(known))}")

    parser = _FlagParser(allow_abbrev=False)
    for name, field in fields.items():
        variable = prefix + name.upper()
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            help=f"{field.metadata['help']} Default: {field.default}. Variable: {variable}.".replace("%", "%%"),
            metavar="VALUE",
        )
    flags = vars(parser.parse_args(argv))
    values = {}
    for name, field in fields.items():
        variable = prefix + name.upper()
        text = flags[name] if flags[name] is not None else environment.get(variable)
        if text is not None:
            values[name] = _check(_parse(text, hints[name], variable), field, variable)
    return cls(**values)


def describe(settings: Any) -> str:
    """One line with every setting, for the log."""
    return " ".join(f"{field.name}={getattr(settings, field.name)!r}" for field in dataclasses.fields(settings))


class _FlagParser(argparse.ArgumentParser):
    """Parser whose errors are those of settings: a line, and not every flag that there is."""

    def error(self, message: str) -> NoReturn:
        """Raises SettingError."""
        raise SettingError(f"{message}; --help lists the flags")


def _parse(text: str, hint: Any, variable: str) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):  # `T | None`: empty means None
        if text == "":
            return None
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if hint is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise SettingError(f"{variable}: expected true or false, got {text!r}")
        return text.lower() in ("true", "1", "yes")
    try:
        return hint(text)
    except ValueError as error:
        raise SettingError(f"{variable}: expected {hint.__name__}, got {text!r}") from error


def _check(value: Any, field: dataclasses.Field[Any], variable: str) -> Any:
    limits = field.metadata
    if value is None:
        return value
    if isinstance(value, float) and math.isnan(value):
        raise SettingError(f"{variable}: not a number")
    if limits["minimum"] is not None and value < limits["minimum"]:
        raise SettingError(f"{variable}: {value} is below {limits['minimum']}")
    if limits["maximum"] is not None and value > limits["maximum"]:
        raise SettingError(f"{variable}: {value} is above {limits['maximum']}")
    if limits["choices"] and value not in limits["choices"]:
        raise SettingError(f"{variable}: {value!r} is none of {', '.join(limits['choices'])}")
    return value
