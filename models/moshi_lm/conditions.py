"""Conditions that a checkpoint was trained with: a vector added to every frame's embedding (docs/model.md 3.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Hibiki's one condition says how well the voice should be carried over; upstream always asks for the best.
_VALUES = {"description": "very_good"}
_MOST = 1 << 16


@dataclass(frozen=True)
class Condition:
    """A value looked up in a table and widened to the model's width."""

    name: str
    bins: int
    width: int
    index: int  # of the value

    @property
    def key(self) -> str:
        """Where its tensors are."""
        return f"condition_provider.conditioners.{self.name}"


def read_conditions(conditioners: object, fuser: object) -> tuple[Condition, ...]:
    """From config.json's `conditioners` and `fuser`. Raises ValueError naming what is not supported."""
    if not conditioners:
        return ()
    if not isinstance(conditioners, Mapping) or not isinstance(fuser, Mapping):
        raise ValueError("conditioners: expected objects in conditioners and fuser")
    summed = fuser.get("sum") or []
    others = [key for key in ("cross", "prepend") if fuser.get(key)]
    if others:
        raise ValueError(f"fuser.{others[0]}: {fuser[others[0]]!r:.60} is not supported, only fuser.sum")
    if not isinstance(summed, list) or sorted(summed) != sorted(conditioners):
        raise ValueError(f"fuser.sum: expected the names of all conditioners, found {summed!r:.60}")
    return tuple(_read(str(name), conditioners[name]) for name in summed)


def _read(name: str, conditioner: Any) -> Condition:
    key = f"conditioners.{name}"
    if not isinstance(conditioner, Mapping) or conditioner.get("type") != "lut":
        kind = conditioner.get("type") if isinstance(conditioner, Mapping) else conditioner
        raise ValueError(f"{key}: type {kind!r:.60} is not supported, only 'lut'")
    if name not in _VALUES:
        raise ValueError(f"{key}: unknown condition, only {', '.join(_VALUES)}")
    table = conditioner.get("lut")
    table = table if isinstance(table, Mapping) else {}
    bins, width = (_count(f"{key}.lut.{size}", table.get(size)) for size in ("n_bins", "dim"))
    return Condition(name, bins, width, _index(key, _VALUES[name], bins, table.get("possible_values")))


def _index(key: str, value: str, bins: int, possible: object) -> int:
    if possible is None:  # the words share the table by their hash
        return int(hashlib.sha256(value.encode()).hexdigest(), 16) % bins
    if not isinstance(possible, list) or value not in possible[:bins]:
        raise ValueError(f"{key}.lut.possible_values: expected {value!r} among them, found {possible!r:.60}")
    return possible.index(value)


def _count(key: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MOST:
        raise ValueError(f"{key}: expected an integer of 1 to {_MOST}, found {value!r:.60}")
    return value
