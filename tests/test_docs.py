"""The documentation keeps its word: cited sections exist, links lead somewhere, named files and commands are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = (
    *("audio", "benchmarks", "clients", "cluster", "deploy", "models", "protos"),
    *("scripts", "services", "tests", "tools", "training"),
)
"""Folders whose comments are read here."""
COMMENTED = {".py", ".proto", ".js", ".css", ".html", ".yml", ".yaml", ".json"}
MODEL = "docs/model.md"
"""The one page that names files of other repositories."""

_SECTION = re.compile(r"^#+ (\d+(?:\.\d+)?)\.? ", re.MULTILINE)
_CITATION = re.compile(r"docs/model\.md((?:,?\s+\d+(?:\.\d+)?)*)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]\[]*(?:\[[^\]]*\][^\]\[]*)*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"python -m ([a-z_]+(?:\.[a-z_0-9]+)*)")
_DOTTED = re.compile(rf"`((?:{'|'.join(CODE)})\.[a-z_]+)[\w.]*`")
_PATH = re.compile(r"`([a-z_]+/[\w./-]+)`")
_PAGE = re.compile(r"(?<![\w/])docs/[\w-]+\.md")
_HE = re.compile(r"\b(?:he|him|his|himself)\b", re.IGNORECASE)
_LEANING = re.compile(r"(?:The same|Such|As above|See|Also|It)\b")


def pages() -> list[Path]:
    """Every Markdown page, the README of a folder included."""
    beside_code = (page for folder in CODE for page in (ROOT / folder).rglob("*.md") if is_ours(page))
    return sorted(
        [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "checkpoints").rglob("*.md"), *beside_code]
    )


def sources() -> list[Path]:
    """Every file with comments, but for this one, which spells out what it looks for."""
    found = (path for folder in CODE for path in (ROOT / folder).rglob("*") if path.suffix in COMMENTED)
    return sorted(path for path in found if path != Path(__file__) and is_ours(path))


def is_ours(path: Path) -> bool:
    """Whether a file is not one of those that building an example brings."""
    return not {"node_modules", "target"} & set(path.parts)


def sections(text: str) -> set[str]:
    """The numbers of a page's headings."""
    return set(_SECTION.findall(text))


def wrong_in(paths: Iterable[Path], wrong: Callable[[Path, str], Iterable[str]]) -> list[str]:
    """What `wrong` finds in the texts of files, a line each."""
    found = ((path, what) for path in paths for what in wrong(path, path.read_text("utf-8")))
    return [f"{path.relative_to(ROOT).as_posix()}: {what}" for path, what in found]


def unknown_citations(text: str, known: set[str]) -> list[str]:
    """Citations of docs/model.md without a number, or with one that is no section's."""
    cited = [re.findall(r"\d+(?:\.\d+)?", numbers) for numbers in _CITATION.findall(text)]
    return [", ".join(numbers) or "no section" for numbers in cited if not numbers or not set(numbers) <= known]


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    found: list[str] = []
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        again = sum(known == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", known) is not None for known in found)
        found.append(f"{slug}-{again}" if again else slug)
    return set(found)


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Links within the repository that lead nowhere."""
    for groups in _LINK.findall(_FENCE.sub("", text)):
        link = "".join(groups)
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        found = target.exists() and target.is_relative_to(ROOT)
        if not found or (anchor and anchor not in anchors(text if target == page else target.read_text("utf-8"))):
            yield link


def missing_modules(text: str) -> Iterator[str]:
    """Modules of ours that a command, or a dotted name in code font, means and that are not there."""
    for module in _COMMAND.findall(text):
        path = ROOT.joinpath(*module.split("."))
        if module.partition(".")[0] in CODE and not _is_file(path.with_suffix(".py"), path / "__main__.py"):
            yield module
    for module in _DOTTED.findall(text):
        path = ROOT.joinpath(*module.split("."))
        if not path.is_dir() and not _is_file(path.with_suffix(".py")):
            yield module


def _is_file(*candidates: Path) -> bool:
    return any(path.is_file() for path in candidates)


def missing_files(page: Path, text: str) -> Iterator[str]:
    """Paths in code font that begin with a folder of the repository and are neither there nor beside the page."""
    for path in _PATH.findall(text):
        if path.partition("/")[0] in CODE and not (ROOT / path).exists() and not (page.parent / path).exists():
            yield path


def test_what_comments_cite_is_there() -> None:
    known = sections((ROOT / MODEL).read_text("utf-8"))

    def wrong(path: Path, text: str) -> Iterator[str]:
        yield from unknown_citations(text, known)
        yield from (page for page in _PAGE.findall(text) if not (ROOT / page).exists())
        yield from missing_modules(text)
        yield from re.findall("facts (?:section|table)s?", text)

    assert not wrong_in(sources(), wrong)


def test_links_between_pages_lead_somewhere() -> None:
    assert not wrong_in(pages(), broken_links)


def test_files_and_commands_that_pages_name_are_there() -> None:
    present = [page for page in pages() if page.name != "CHANGELOG.md"]  # which names what is gone
    assert not wrong_in(present, lambda page, text: missing_modules(text))
    assert not wrong_in([page for page in present if page != ROOT / MODEL], missing_files)


def test_every_page_is_listed() -> None:
    listed = _LINK.findall((ROOT / "docs/README.md").read_text("utf-8"))
    targets = {"".join(groups).partition("#")[0] for groups in listed}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - targets == {"README.md"}


def test_callers_are_they() -> None:
    def wrong(path: Path, text: str) -> Iterator[str]:
        return (line.strip() for line in text.splitlines() if _HE.search(line))

    assert not wrong_in([*pages(), *sources()], wrong)


def test_the_first_line_of_a_module_stands_alone() -> None:
    def wrong(path: Path, text: str) -> Iterator[str]:
        docstring = ast.get_docstring(ast.parse(text))
        if docstring is None and path.name != "__init__.py" and not path.is_relative_to(ROOT / "tests"):
            yield "no docstring"
        elif docstring is not None and _LEANING.match(docstring):
            yield docstring.partition("\n")[0]

    assert not wrong_in([path for path in sources() if path.suffix == ".py"], wrong)


def test_a_citation_of_no_section_is_found() -> None:
    assert sections("# 1. Mimi\n## 1.5 The quantiser\n") == {"1", "1.5"}
    assert unknown_citations("(docs/model.md 1.5) and docs/model.md 1, 1.5", {"1", "1.5"}) == []
    assert unknown_citations("(docs/model.md 1.5, 1.6)", {"1", "1.5"}) == ["1.5, 1.6"]
    assert unknown_citations("see docs/model.md for it", {"1"}) == ["no section"]


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [
        ("docs/model.md", False),
        ("docs/model.md#15-the-quantiser", False),
        ("#a-heading", False),
        ("https://example.org/nothing", False),
        ("docs/no-page.md", True),
        ("docs/model.md#nothing", True),
        ("#nothing", True),
        ("../elsewhere", True),
    ],
)
def test_a_link_that_leads_nowhere_is_found(link: str, is_broken: bool) -> None:
    text = f"# A heading\n\nSee [there]({link}).\n\n```\n[not](a-link)\n```\n"
    assert list(broken_links(ROOT / "README.md", text)) == ([link] if is_broken else [])


def test_a_file_or_command_that_is_not_there_is_found() -> None:
    names = "`models/mimi/mimi.py`, `models/mimi`, `models/nothing.py`"
    assert list(missing_files(ROOT / "README.md", names)) == ["models/nothing.py"]
    commands = (
        "python -m services.codec, python -m tools.nothing, python -m http.server, `models.inspect`, `tools.none`"
    )
    assert list(missing_modules(commands)) == ["tools.nothing", "tools.none"]
