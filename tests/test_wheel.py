"""The package as other people install it: what a wheel holds, and that it serves and talks from an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import wave
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moshi_cluster.cluster.direct_http import open_direct
from tests.cluster.processes import listening

ROOT = Path(__file__).parents[1]
LINKED = [path.name for path in (ROOT / "moshi_cluster").iterdir() if path.is_symlink()]
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt")
FOLDERS = ("moshi_cluster", "protos", *LINKED)
TIMEOUT_S = 200
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
UNBOUND = {"PIP_NO_INDEX": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """What the command prints; fails when it does."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def environment(**variables: str) -> dict[str, str]:
    ours = ("MOSHI_", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | UNBOUND | variables


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build may need, links as links, without generated code."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        shutil.copy(ROOT / name, folder)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "v1" if name == "moshi_cluster" else "__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    return folder


def built(source: Path, folder: Path) -> Path:
    """A wheel of the source, made without network."""
    run(*PIP, "wheel", source, "--no-build-isolation", "--no-deps", "--wheel-dir", folder, cwd=source)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the wheel, and what it depends on from this one."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # A path in a .pth file brings packages; .pth files in it, such as this checkout's own, are not read.
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    run(*PIP, "--python", python, "install", "--no-deps", "--ignore-installed", wheel, cwd=folder)
    return folder / "bin"


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in folder.rglob("*") if path.is_file()}


def names_of(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_a_wheel_brings_one_name(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names_of(wheel)}
    assert tops == {"moshi_cluster", f"moshi_cluster-{wheel.name.split('-')[1]}.dist-info"}


def test_a_wheel_holds_the_code_the_stubs_the_page_and_the_demo_model(wheel: Path) -> None:
    code = {path for folder in LINKED for path in files_below(ROOT / folder) if path.endswith(".py")}
    code -= files_below(ROOT / "clients" / "examples")
    data = (
        files_below(ROOT / "clients" / "web") | files_below(ROOT / "checkpoints") | {"clients/cli/demo_utterance.wav"}
    )
    protos = {path.stem for path in (ROOT / "protos/moshi_cluster/v1").glob("*.proto")}
    stubs = {f"v1/{name}{end}" for name in protos for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")}
    expected = code | data | stubs | {"__init__.py", "__main__.py", "v1/__init__.py", "py.typed"}
    found = {name.removeprefix("moshi_cluster/") for name in names_of(wheel) if name.startswith("moshi_cluster/")}
    assert found == expected


def test_a_source_distribution_gives_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", build, cwd=checkout)
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    (source,) = (tmp_path / "unpacked").iterdir()
    assert names_of(built(source, tmp_path)) == names_of(wheel)


def test_a_checkout_without_links_says_so(checkout: Path, tmp_path: Path) -> None:
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(checkout / name, tmp_path)
    (tmp_path / "moshi_cluster").mkdir()
    (tmp_path / "moshi_cluster" / "audio").write_text("../audio")  # as git leaves a link that it may not make
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "lib"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert result.returncode == 1
    assert "moshi_cluster/audio is no folder: this checkout has lost its symbolic links" in result.stderr


@contextmanager
def serving(programs: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [programs / "moshi-cluster", "serve", "--port", "0", "--grpc-port", "0", "--device", "cpu"],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


def announced(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The addresses of the page and of gRPC."""
    assert process.stdout is not None
    text = ""
    while "gRPC" not in text:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=TIMEOUT_S)[1]
        text += line
    page, grpc = re.findall(r"(?:page|gRPC)\s+(\S+)", text)
    return page, grpc


def question(path: Path) -> Path:
    """Half a second of silence, 24 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes(bytes(24_000))
    return path


def seconds_in(path: Path) -> float:
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


@pytest.mark.cluster
def test_from_an_empty_folder_it_serves_talks_and_stops(programs: Path, tmp_path: Path) -> None:
    empty, spoken = tmp_path / "empty", question(tmp_path / "question.wav")
    empty.mkdir()
    program = programs / "moshi-cluster"
    where = run(programs / "python", "-c", "import moshi_cluster; print(moshi_cluster.__file__)", cwd=empty)
    assert Path(where.strip()).is_relative_to(programs.parent)
    with serving(programs, empty) as process:
        page, grpc = announced(process)
        with open_direct(page, TIMEOUT_S) as answer:
            assert b"<title>" in answer.read()
        common = ("--input", spoken, "--output", tmp_path / "reply.wav")
        run(program, "converse", "--target", grpc, *common, cwd=empty)
        assert seconds_in(tmp_path / "reply.wav") >= 0.4
        run(program, "talk", "--plain", "--target", page, "--tail-s", "0", *common, cwd=empty)
        assert seconds_in(tmp_path / "reply.wav") >= 0.4
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, log
    addresses = re.findall(r"serves at (\S+)", log)
    assert len(addresses) == 3
    assert not any(map(listening, addresses))
    assert not list(empty.iterdir())
