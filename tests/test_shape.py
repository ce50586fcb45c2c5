"""Small files, short functions: the shape of the product's code, measured."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("audio", "benchmarks", "clients", "cluster", "models", "scripts", "services", "tools", "training")
MEDIAN_LINES, NINE_OF_TEN_LINES, MOST_LINES = 6, 15, 50  # of a function
MOST_MODULE_LINES = 300
MOST_ENTRIES = 11  # of the gateway's folder


@dataclass(frozen=True, order=True)
class Function:
    """A function or method by its length, from `def` to its last line."""

    lines: int
    where: str


def functions_of(source: str, path: str) -> Iterator[Function]:
    """Every function of a file, those inside others too."""
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function((node.end_lineno or node.lineno) - node.lineno + 1, f"{path}:{node.lineno} {node.name}")


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


@pytest.fixture(scope="module")
def functions(sources: dict[str, str]) -> list[Function]:
    return sorted(function for path, source in sources.items() for function in functions_of(source, path))


def test_half_of_the_functions_have_six_lines_at_most_and_nine_of_ten_fifteen(functions: list[Function]) -> None:
    lines = [function.lines for function in functions]
    assert lines[len(lines) // 2] <= MEDIAN_LINES
    assert lines[9 * len(lines) // 10] <= NINE_OF_TEN_LINES


def test_no_function_is_long(functions: list[Function]) -> None:
    assert not [function for function in functions if function.lines > MOST_LINES]


def test_no_module_is_long(sources: dict[str, str]) -> None:
    lines = {path: len(source.splitlines()) for path, source in sources.items()}
    assert not {path: count for path, count in lines.items() if count > MOST_MODULE_LINES}


def test_the_gateways_folder_is_seen_at_a_glance() -> None:
    entries = sorted(path.name for path in (ROOT / "services/gateway").iterdir() if path.name != "__pycache__")
    assert len(entries) <= MOST_ENTRIES, entries


def test_a_function_is_as_long_as_it_stands_in_its_file() -> None:
    source = "@cache\ndef outer() -> None:\n    async def inner() -> None:\n        pass\n\n    return inner\n"
    assert list(functions_of(source, "file.py")) == [Function(5, "file.py:2 outer"), Function(2, "file.py:3 inner")]
