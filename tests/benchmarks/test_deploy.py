"""`make deploy-check`: what is found fails, what is missing is named."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from benchmarks.deploy import __main__ as deploy_check


def test_a_command_that_finds_something_fails_its_check_and_the_rest_still_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def commands() -> Iterator[list[str]]:
        yield [sys.executable, "-c", "import sys; sys.exit('found')"]
        yield [sys.executable, "-c", "print('quiet')"]

    assert not deploy_check.passes(commands)
    said = capsys.readouterr().out
    assert "found" in said and "quiet" not in said and "commands: FAILED" in said


def test_a_tool_that_is_not_there_is_named_and_fails_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def commands() -> Iterator[list[str]]:
        yield ["no-such-tool"]

    assert deploy_check.passes(commands)
    assert capsys.readouterr().out == "commands: skipped, no-such-tool is not there\n"


def test_every_finding_that_is_left_out_has_its_reason() -> None:
    lines = (deploy_check.ROOT / deploy_check.CONFIGURATIONS / "checkov.yaml").read_text().splitlines()
    left_out = [line for line in lines if line.lstrip().startswith("- ")]
    assert left_out and all(" # " in line for line in left_out)


def test_every_profile_of_the_compose_file_is_read() -> None:
    text = (deploy_check.ROOT / "docker-compose.yml").read_text()
    assert all(f"profiles: [{profile}]" in text for profile in deploy_check.COMPOSE_PROFILES)
    assert text.count("profiles: [") == sum(text.count(f"profiles: [{name}]") for name in deploy_check.COMPOSE_PROFILES)
