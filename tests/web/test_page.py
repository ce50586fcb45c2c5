"""The page as text: what needs neither Node nor a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "clients" / "web"
HTML = (PAGE / "index.html").read_text()
SCRIPTS = sorted(PAGE.glob("js/**/*.js"))
STYLES = sorted(PAGE.glob("css/*.css"))
READABLE = 4.5  # contrast of text by WCAG 2, level AA
VISIBLE = 3.0  # of what is not text
TEXT_COLOURS = ["ink", "dim", "error", "warning", "good"]
SHAPE_COLOURS = ["moshi", "mine"]


class Elements(HTMLParser):
    """All elements with their attributes and the text inside them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text: dict[int, str] = {}
        self._open: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("input", "meta", "link", "img", "br"):
            self._open.append(len(self.found) - 1)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self.found[self._open.pop()][0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for index in self._open:
            self.text[index] = self.text.get(index, "") + data


@pytest.fixture(scope="module")
def elements() -> Elements:
    parser = Elements()
    parser.feed(HTML)
    return parser


def test_every_file_that_the_page_loads_is_there() -> None:
    for name in re.findall(r'(?:href|src)="([^"#]+)"', HTML):
        assert (PAGE / name).is_file(), name
    for script in SCRIPTS:
        for name in re.findall(r'from "([^"]+)"|new URL\("([^"]+)", import\.meta\.url\)', script.read_text()):
            assert (script.parent / (name[0] or name[1])).is_file(), f"{script.name}: {name}"


def test_every_name_that_is_imported_is_exported() -> None:
    for script in SCRIPTS:
        for names, source in re.findall(r'import \{([^}]+)\} from "([^"]+)"', script.read_text()):
            exported = re.findall(
                r"^export (?:async )?(?:class|function|const) (\w+)", (script.parent / source).read_text(), re.MULTILINE
            )
            for name in names.split(","):
                assert not name.strip() or name.strip() in exported, f"{script.name}: {name.strip()} of {source}"


def test_nothing_is_fetched_from_elsewhere_and_nothing_runs_in_line() -> None:
    for file in [PAGE / "index.html", *SCRIPTS, *STYLES]:
        addresses = re.findall(r"https?://[^\s\"'`)]+", file.read_text())
        assert [each for each in addresses if not each.startswith("http://www.w3.org/")] == [], file.name
    assert "default-src 'self'" in HTML
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", HTML)


def test_ids_are_unique_and_every_id_that_the_scripts_ask_for_exists(elements: Elements) -> None:
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for script in SCRIPTS:
        for name in re.findall(r'byId\("([^"]+)"\)', script.read_text()):
            assert name in ids, f"{script.name}: {name}"


def test_everything_that_can_be_used_has_a_name_for_screen_readers(elements: Elements) -> None:
    labelled = {attributes["for"] for tag, attributes in elements.found if tag == "label" and "for" in attributes}
    texts = {index: " ".join(text.split()) for index, text in elements.text.items()}
    wrapped = {
        match
        for text in re.findall(r"<label[^>]*>(.*?)</label>", HTML, re.DOTALL)
        for match in re.findall(r'id="([^"]+)"', text)
    }
    for index, (tag, attributes) in enumerate(elements.found):
        named = attributes.get("aria-label") or attributes.get("aria-labelledby")
        if tag in ("button", "summary", "a"):
            assert named or texts.get(index), attributes
        elif tag in ("input", "select"):
            assert attributes["id"] in labelled | wrapped, attributes
        elif tag in ("canvas", "section", "dialog"):
            assert named, attributes
        elif tag == "img":
            assert "alt" in attributes


def test_a_name_begins_with_what_is_seen(elements: Elements) -> None:
    """So that someone who speaks commands to the page can say what they read (WCAG 2.5.3)."""
    for index, (tag, attributes) in enumerate(elements.found):
        seen = " ".join(elements.text.get(index, "").split())
        if tag == "button" and seen and "aria-label" in attributes:
            assert attributes["aria-label"].lower().startswith(seen.lower()), attributes


def test_every_colour_that_is_used_is_defined_in_every_theme() -> None:
    themes = _themes()
    assert themes["dark by choice"] == themes["dark by the system"]
    used = {name for file in [*STYLES, *SCRIPTS] for name in re.findall(r"var\(--([a-z_-]+)\)", file.read_text())}
    assert used - set(themes["light"]) <= {"tone", "colour"}
    assert set(themes["dark by choice"]) <= set(themes["light"])


def test_every_hop_has_a_colour_and_a_swatch() -> None:
    hops = re.findall(r'\{ name: "(\w+)"', (PAGE / "js/call/latency.js").read_text())
    figures = (PAGE / "css/figures.css").read_text()
    assert len(hops) == 11
    for hop in hops:
        assert f"hop-{hop}" in _themes()["light"]
        assert f'[data-hop="{hop}"]' in figures


@pytest.mark.parametrize("theme", ["light", "dark by choice"])
def test_text_is_readable(theme: str) -> None:
    colours = _themes()["light"] | _themes()[theme]
    for name in TEXT_COLOURS:
        for ground in ("panel", "ground"):
            assert _contrast(colours[name], colours[ground]) >= READABLE, f"{name} on {ground}"
    for name in SHAPE_COLOURS:
        assert _contrast(colours[name], colours["panel"]) >= VISIBLE, name
    assert _contrast(colours["ink"], colours["raised"]) >= READABLE
    assert _contrast(colours["on-accent"], colours["accent"]) >= READABLE
    assert _contrast(colours["on-hang-up"], colours["hang-up"]) >= READABLE


def _themes() -> dict[str, dict[str, str]]:
    text = (PAGE / "css/theme.css").read_text()
    blocks = re.findall(r":root[^{]*\{([^}]+)\}", text)
    names = ["light", "dark by the system", "dark by choice"]
    return {name: dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for name, block in zip(names, blocks, strict=True)}


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
