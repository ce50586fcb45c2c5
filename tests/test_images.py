"""The container images, without a container engine: what each stage copies is laid out in a folder and run there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import time
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest

from moshi_cluster.cluster.direct_http import open_direct
from moshi_cluster.cluster.ports import LOOPBACK, free_ports
from moshi_cluster.cluster.process import ServiceProcess
from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.lm.settings import LmSettings
from tests.dockerfile import stages

ROOT = Path(__file__).parents[1]
SERVICES = ("codec", "lm", "gateway")
START_TIMEOUT_S = 200.0
STOP_TIMEOUT_S = 60.0
GENERATED = PurePosixPath("moshi_cluster/v1")  # by a RUN of the Dockerfile
# -S: nothing of this checkout is found through its own environment; the packages are named by hand.
PYTHON = (sys.executable, "-S")
FIRST_PROCESS = ["dumb-init", "--single-child", "--"]
PACKAGES = {"PYTHONPATH": sysconfig.get_path("purelib")}


STAGES = stages()


class Images:
    """Folders that hold what the images would, below one folder; /app of `lm` is lm/app."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def root(self, name: str) -> Path:
        """The image's file system, laid out when first asked for."""
        root = self._folder / name
        if not root.exists():
            stage = STAGES[name]
            if stage.parent in STAGES:
                shutil.copytree(self.root(stage.parent), root, symlinks=True)
            root.mkdir(exist_ok=True)
            for arguments in stage.copies:
                if not arguments[0].startswith("deploy/images/"):  # what RUN installs is here already
                    self._copy(root, arguments)
        return root

    def _copy(self, root: Path, arguments: list[str]) -> None:
        options = dict(word[2:].split("=") for word in arguments if word.startswith("--"))
        *sources, target = [word for word in arguments if not word.startswith("--")]
        into = root / (target.lstrip("/") if target.startswith("/") else Path("app", target))
        for source in sources:
            origin = self._origin(source, options.get("from"))
            if origin.is_dir():
                shutil.copytree(origin, into, symlinks=True, ignore=ignored, dirs_exist_ok=True)
            else:
                into.mkdir(parents=True, exist_ok=True) if target.endswith("/") else None
                shutil.copy(origin, into)

    def _origin(self, source: str, stage: str | None) -> Path:
        if stage == "stubs":
            assert source == f"/app/{GENERATED}"
            return ROOT / GENERATED
        if stage is not None:
            return self.root(stage) / source.lstrip("/")
        assert in_context(PurePosixPath(source)), f"{source} is not in the build context: see .dockerignore"
        return ROOT / source


def in_context(path: PurePosixPath) -> bool:
    """Whether .dockerignore lets a path pass."""
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    return any(rule.startswith("!") and path.is_relative_to(rule[1:]) for rule in rules)


def ignored(folder: str, names: list[str]) -> set[str]:
    generated = {GENERATED.name} if Path(folder) == ROOT / GENERATED.parent else set()
    return {"__pycache__"} | generated


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


def command(service: str, kind: str) -> list[str]:
    """An instruction's program, run by this interpreter."""
    words = STAGES[service].commands[kind]
    if kind == "ENTRYPOINT":
        assert words[: len(FIRST_PROCESS)] == FIRST_PROCESS
        words = words[len(FIRST_PROCESS) :]
    python, *arguments = words
    assert python == "python"
    return [*PYTHON, *arguments]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_starts_its_service_and_knows_its_settings(service: str, images: Images) -> None:
    result = subprocess.run(
        [*command(service, "ENTRYPOINT"), "--help"],
        cwd=images.root(service) / "app",
        env=PACKAGES,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
    )
    assert result.returncode == 0, result.stderr
    assert f"MOSHI_{service.upper()}_METRICS_PORT" in result.stdout


@contextmanager
def running(images: Images, service: str, settings: Mapping[str, str]) -> Iterator[ServiceProcess]:
    """A service in its image, which ends well when it is told to stop; what is known of it from its settings."""
    variables = {f"MOSHI_{service.upper()}_{name}": value for name, value in settings.items()}
    folder = images.root(service) / "app"
    with (folder.parent / "log").open("w") as log:
        process = subprocess.Popen(
            command(service, "ENTRYPOINT"), cwd=folder, env=PACKAGES | variables, stdout=log, stderr=log
        )
        try:
            yield ServiceProcess(service, service, variables, folder.parent / "log")
        finally:
            process.terminate()
            code = process.wait(STOP_TIMEOUT_S)
    assert code == 0, (folder.parent / "log").read_text()


def wait_until_serving(service: ServiceProcess) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not service.serving:
        assert time.monotonic() < deadline_s, service.log_tail()
        time.sleep(0.1)


def healthy(images: Images, service: ServiceProcess) -> bool:
    """What the image's own check says."""
    *check, usual_address = command(service.name, "HEALTHCHECK")
    assert usual_address == f"{LOOPBACK}:{DEFAULTS[service.name].port}"
    folder = images.root(service.name) / "app"
    result = subprocess.run([*check, service.address], cwd=folder, env=PACKAGES, timeout=START_TIMEOUT_S)
    return result.returncode == 0


DEFAULTS = {"codec": CodecSettings(), "lm": LmSettings(), "gateway": GatewaySettings()}


@pytest.mark.cluster
def test_the_three_images_hold_a_call_and_serve_the_page(images: Images, tmp_path: Path) -> None:
    ports = iter(map(str, free_ports(7)))

    def where() -> dict[str, str]:
        return {"HOST": LOOPBACK, "PORT": next(ports), "METRICS_PORT": next(ports)}

    def model(service: str) -> dict[str, str]:
        return where() | {"CHECKPOINT": str(images.root(service) / "checkpoint")}

    with running(images, "codec", model("codec")) as codec, running(images, "lm", model("lm")) as lm:
        targets = {"CODEC_TARGETS": codec.address, "LM_TARGETS": lm.address, "HTTP_PORT": next(ports)}
        with running(images, "gateway", where() | targets) as gateway:
            for service in (codec, lm, gateway):
                wait_until_serving(service)
            assert all(healthy(images, service) for service in (codec, lm, gateway))
            with open_direct(gateway.http_url, 10) as page:
                assert b"<title>" in page.read()
            assert call(gateway.address, tmp_path / "reply.wav") == 0


def call(target: str, output: Path) -> int:
    """The exit code of a short call from outside."""
    with wave.open(str(output), "wb") as question:
        question.setparams((1, 2, 24_000, 0, "NONE", ""))
        question.writeframes(bytes(24_000))
    program = [sys.executable, "-m", "moshi_cluster", "converse", "--target", target]
    files = ["--input", str(output), "--output", str(output)]
    return subprocess.run([*program, *files], cwd=ROOT, timeout=START_TIMEOUT_S).returncode


def test_the_codec_before_triton_is_an_image_without_models(images: Images) -> None:
    app = images.root("codec-triton") / "app"
    assert (app / "services/codec").is_dir() and not (app / "models").exists()
    program = [*command("codec-triton", "ENTRYPOINT"), "--help"]
    result = subprocess.run(program, cwd=app, env=PACKAGES, capture_output=True, text=True, timeout=START_TIMEOUT_S)
    assert result.returncode == 0, result.stderr
    assert "MOSHI_CODEC_TRITON_URL" in result.stdout


def test_the_image_of_triton_writes_its_own_repository(images: Images, tmp_path: Path) -> None:
    root = images.root("triton")
    script = (root / "app/start.sh").read_text()
    module = re.search(r"^python3 -m (\S+) --checkpoint .* --output /models", script, re.M)
    assert module is not None
    options = ["--checkpoint", str(root / "checkpoint"), "--output", str(tmp_path)]
    program = [*PYTHON, "-m", module[1], *options]
    result = subprocess.run(
        program, cwd=root / "app", env=PACKAGES, capture_output=True, text=True, timeout=START_TIMEOUT_S
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "mimi_encode/config.pbtxt").is_file()


MANIFESTS = [
    *("docker-compose.yml", "deploy/gpu/compose.yaml"),
    *(str(file.relative_to(ROOT)) for file in (ROOT / "deploy/k8s").rglob("kustomization.yaml")),
]


@pytest.mark.parametrize("file", MANIFESTS)
def test_deployments_use_settings_that_exist(file: str) -> None:
    used = re.findall(r"MOSHI_(CODEC|LM|GATEWAY)_([A-Z_]+)(?=[=:])", (ROOT / file).read_text())
    assert used or "/k8s/" in file
    assert [(service, name) for service, name in used if not hasattr(DEFAULTS[service.lower()], name.lower())] == []


@pytest.mark.parametrize("service", SERVICES)
def test_deployments_use_the_ports_of_the_settings(service: str) -> None:
    settings = DEFAULTS[service]
    own = {settings.port, settings.metrics_port} | ({settings.http_port} if service == "gateway" else set())
    manifest = (ROOT / f"deploy/k8s/base/{service}.yaml").read_text()
    exposed = re.search(rf"AS {service}\n(?:.*\n)*?EXPOSE (.*)", (ROOT / "Dockerfile").read_text())
    assert exposed is not None
    assert set(map(int, exposed[1].split())) == own
    assert set(map(int, re.findall(r"containerPort: (\d+)", manifest))) == own
