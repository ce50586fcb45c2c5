"""What every image promises, read from the Dockerfile, and what it installs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from moshi_cluster.services.common.process_metrics import REVISION_VARIABLE
from tests.dockerfile import ROOT, stages

STAGES = stages()
IMAGES = ("gateway", "codec", "lm", "codec-triton", "triton")
FOLDER = ROOT / "deploy/images"
EXTRAS = {"gateway": "gateway", "codec": "codec", "lm": "lm", "codec-triton": "triton"}
OF_PYTORCH = re.compile(r"(torch|triton|nvidia-(?!ml-py).*|cuda-.*)$")


def name_of(requirement: str) -> str:
    """A project's name as indexes spell it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def locked(name: str) -> dict[str, str]:
    """Versions by name; every entry has hashes."""
    entries = re.split(r"\n(?=[A-Za-z])", (FOLDER / f"{name}.txt").read_text())
    entries = [entry for entry in entries if re.match("[A-Za-z]", entry)]
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    pairs = (entry.split()[0].split("==") for entry in entries)
    return {name_of(project): version for project, version in pairs}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name_of(project): version for project, version in pairs}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_what_images_install_are_the_versions_that_are_tested(path: Path) -> None:
    constraints = pinned()
    installed = {project: version.partition("+")[0] for project, version in locked(path.stem).items()}
    assert installed
    differing = {name: (at, constraints[name]) for name, at in installed.items() if constraints.get(name, at) != at}
    # PyTorch brings the Triton that it was made for.
    assert {name: both for name, both in differing.items() if name != "triton"} == {}, "run deploy/images/lock.sh"


@pytest.mark.parametrize(("image", "extra"), EXTRAS.items())
def test_an_image_has_what_its_service_depends_on(image: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {name_of(line) for line in [*project["dependencies"], *extras[extra], *extras["image"]]}
    installed = set(locked(image))
    if image in ("codec", "lm"):
        assert not any(map(OF_PYTORCH.match, installed)), "that is for torch-cpu.txt and torch-cuda.txt"
        installed |= {"torch"}
    assert wanted - installed == set(), "run deploy/images/lock.sh"


def test_pytorch_is_in_the_images_of_workers_alone() -> None:
    for image in ("gateway", "codec-triton"):
        assert not any(map(OF_PYTORCH.match, locked(image)))
    assert set(locked("torch-cpu")) == {"torch"}
    assert len(locked("torch-cuda")) > 10, "with the libraries of CUDA"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_nobody_special_with_a_first_process_that_takes_signals(image: str) -> None:
    stage = STAGES[image]
    assert [rest for instruction, rest in stage.others if instruction == "USER"] == ["10001"]
    assert stage.commands["ENTRYPOINT"][0] == "dumb-init"
    assert "HEALTHCHECK" in stage.commands


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_says_what_it_is_made_of(image: str) -> None:
    labels = " ".join(rest for instruction, rest in STAGES[image].others if instruction == "LABEL")
    for label in ("title", "licenses", "version", "revision", "source"):
        assert f"org.opencontainers.image.{label}=" in labels
    if image != "triton":  # its metrics are NVIDIA's own
        assert ("ENV", f"{REVISION_VARIABLE}=${{REVISION}}") in STAGES[image].others, "metrics tell it"


def test_build_arguments_are_declared_where_they_are_used() -> None:
    """Not every builder hands what stands before the first FROM to the stages."""
    for name, stage in STAGES.items():
        texts = [rest for _, rest in stage.others] + [" ".join(words) for words in stage.copies]
        used = set(re.findall(r"\$\{([A-Z_]+)\}", " ".join(texts)))
        assert used - stage.arguments == set(), name


def test_every_dependency_lies_in_a_layer_before_any_code() -> None:
    for image in IMAGES:
        text = (ROOT / "Dockerfile").read_text().partition(f" AS {image}\n")[2].partition("\nFROM ")[0]
        code = re.search(r"^COPY (?!deploy/images/)", text, re.M)
        assert code is not None
        assert "install" not in text[code.start() :], image


def test_the_base_is_named_by_its_digest() -> None:
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", (ROOT / "Dockerfile").read_text(), re.M)
