"""Who may import whom. Read from the sources, so that nothing need be installed and no import is missed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("services", "models", "clients", "scripts", "benchmarks", "training", "tests")
UPSTREAM = ("moshi", "moshi_mlx", "rustymimi")
MAY_RUN_UPSTREAM = ("benchmarks", "tests")
MODEL_LIBRARIES = ("torch", "numpy", "safetensors", "models", *sys.stdlib_module_names)
LOADING_LIBRARIES = ("huggingface_hub", "sentencepiece")

Tree = Mapping[PurePosixPath, str]  # path from the root -> source


@dataclass(frozen=True)
class Import:
    """`module` is imported on `line` of the file `path`; of `from a.b import c`, both a.b and a.b.c count."""

    path: PurePosixPath
    line: int
    module: str

    def is_of(self, *packages: str) -> bool:
        return any(self.module == package or self.module.startswith(f"{package}.") for package in packages)


def imports_of(path: PurePosixPath, source: str) -> Iterator[Import]:
    """Every import of a file, wherever it stands; relative ones resolved."""
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.Import):
            yield from (Import(path, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            anchor = path.parts[: -node.level] if node.level else ()
            base = ".".join([*anchor, *filter(None, [node.module])])
            yield from (Import(path, node.lineno, name) for name in (base, *(f"{base}.{a.name}" for a in node.names)))


def imports_in(tree: Tree, *folders: str) -> Iterator[Import]:
    """Every import of the files below the folders."""
    for path, source in tree.items():
        if any(path.is_relative_to(folder) for folder in folders):
            yield from imports_of(path, source)


# --- the rules: each yields the imports that break it


def services_stand_alone(tree: Tree) -> Iterator[Import]:
    """A service imports no other service, only services.common; services.common imports none."""
    for found in imports_in(tree, "services"):
        own = f"services.{found.path.parts[1]}"
        if found.is_of("services") and found.module != "services" and not found.is_of(own, "services.common"):
            yield found


def gateway_never_reaches_torch(tree: Tree) -> Iterator[Import]:
    """The gateway imports torch neither itself nor through anything of ours that it imports."""
    waiting = [path for path in tree if path.is_relative_to("services/gateway")]
    reached = set(waiting)
    while waiting:
        path = waiting.pop()
        for found in imports_of(path, tree[path]):
            if found.is_of("torch", "models"):
                yield found
            for file in _files_of(found.module, tree):
                if file not in reached:
                    reached.add(file)
                    waiting.append(file)


def engines_know_no_grpc(tree: Tree) -> Iterator[Import]:
    """engine.py is free of grpc and of messages."""
    for found in imports_in(tree, "services"):
        if found.path.name == "engine.py" and found.is_of("grpc", "grpc_health", "grpc_reflection", "moshi_cluster"):
            yield found


def servers_know_no_torch(tree: Tree) -> Iterator[Import]:
    """server.py is free of torch."""
    for found in imports_in(tree, "services"):
        if found.path.name == "server.py" and found.is_of("torch"):
            yield found


def models_are_pure(tree: Tree) -> Iterator[Import]:
    """models import torch, numpy, safetensors and each other; models/loading the hub and the tokenizer as well."""
    for found in imports_in(tree, "models"):
        more = LOADING_LIBRARIES if found.path.is_relative_to("models/loading") else ()
        if not found.is_of(*MODEL_LIBRARIES, *more):
            yield found


def clients_speak_only_the_protocol(tree: Tree) -> Iterator[Import]:
    """clients import neither services nor models nor torch."""
    return (found for found in imports_in(tree, "clients") if found.is_of("services", "models", "torch"))


def nothing_needs_the_training(tree: Tree) -> Iterator[Import]:
    """What runs the system does not import training; what measures it may."""
    return (found for found in imports_in(tree, "services", "models", "clients", "scripts") if found.is_of("training"))


def upstream_is_never_imported(tree: Tree) -> Iterator[Import]:
    """Upstream's packages stay out; benchmarks may time them and tests talk to them, in an environment of their own."""
    for found in imports_in(tree, *PACKAGES):
        if found.is_of(*UPSTREAM) and not any(found.path.match(f"{root}/*/upstream*.py") for root in MAY_RUN_UPSTREAM):
            yield found


def no_package_is_called_moshi(tree: Tree) -> Iterator[Import]:
    """A file or folder called moshi would hide upstream's package, or be hidden by it."""
    return (Import(path, 1, "moshi") for path in tree if "moshi" in (*path.parts[:-1], path.stem))


RULES: tuple[Callable[[Tree], Iterable[Import]], ...] = (
    services_stand_alone,
    gateway_never_reaches_torch,
    engines_know_no_grpc,
    servers_know_no_torch,
    models_are_pure,
    clients_speak_only_the_protocol,
    nothing_needs_the_training,
    upstream_is_never_imported,
    no_package_is_called_moshi,
)


def _files_of(module: str, tree: Tree) -> list[PurePosixPath]:
    """The files that importing a module of ours runs: the packages above it and itself."""
    parts = module.split(".")
    folders = [PurePosixPath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    candidates = [folder / "__init__.py" for folder in folders] + [folders[-1].with_suffix(".py")]
    return [path for path in candidates if path in tree]


@pytest.fixture(scope="module")
def repository() -> Tree:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {PurePosixPath(path.relative_to(ROOT).as_posix()): path.read_text() for path in paths}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps_the_rule(rule: Callable[[Tree], Iterable[Import]], repository: Tree) -> None:
    broken = sorted({f"{found.path}:{found.line} imports {found.module}" for found in rule(repository)})
    assert not broken, f"{rule.__doc__}\n" + "\n".join(broken)


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (services_stand_alone, "services/lm/engine.py", "from services.codec.engine import step"),
        (services_stand_alone, "services/lm/engine.py", "from ..codec import engine"),
        (services_stand_alone, "services/lm/engine.py", "from services import gateway"),
        (services_stand_alone, "services/common/slots.py", "import services.lm"),
        (gateway_never_reaches_torch, "services/gateway/audio.py", "def late():\n    import torch.nn"),
        (engines_know_no_grpc, "services/lm/engine.py", "from grpc import aio"),
        (engines_know_no_grpc, "services/common/engine.py", "from moshi_cluster.v1 import lm_pb2"),
        (servers_know_no_torch, "services/codec/server.py", "from torch import Tensor"),
        (models_are_pure, "models/mimi/codec.py", "import asyncio, prometheus_client"),
        (models_are_pure, "models/mimi/codec.py", "from services.common import slots"),
        (models_are_pure, "models/moshi_lm/lm.py", "import sentencepiece"),
        (clients_speak_only_the_protocol, "clients/cli/call.py", "from models.mimi import Mimi"),
        (clients_speak_only_the_protocol, "clients/web/page.py", "import services.common.rpc"),
        (nothing_needs_the_training, "scripts/demo.py", "from training.evaluate import answers"),
        (upstream_is_never_imported, "scripts/check.py", "from moshi.models import loaders"),
        (upstream_is_never_imported, "tests/models/test_mimi.py", "import rustymimi"),
        (no_package_is_called_moshi, "models/moshi/lm.py", ""),
        (no_package_is_called_moshi, "clients/moshi.py", ""),
    ],
)
def test_a_file_that_breaks_the_rule_is_found(rule: Callable[[Tree], Iterable[Import]], path: str, source: str) -> None:
    assert {found.path for found in rule({PurePosixPath(path): source})} == {PurePosixPath(path)}


def test_torch_behind_services_common_is_found() -> None:
    tree = {
        PurePosixPath("services/gateway/session.py"): "from services.common import slots",
        PurePosixPath("services/common/slots.py"): "from .arrays import rows",
        PurePosixPath("services/common/arrays.py"): "import torch",
        PurePosixPath("services/common/unused_by_the_gateway.py"): "import torch",
    }
    assert [found.path.name for found in gateway_never_reaches_torch(tree)] == ["arrays.py"]


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (services_stand_alone, "services/lm/server.py", "from services.common import slots\nfrom .engine import step"),
        (models_are_pure, "models/loading/source.py", "import json, huggingface_hub\nfrom models.mimi import Mimi"),
        (upstream_is_never_imported, "benchmarks/offline/upstream.py", "import moshi"),
        (upstream_is_never_imported, "services/lm/server.py", "import moshi_cluster.v1.lm_pb2\nimport models.moshi_lm"),
    ],
)
def test_a_file_that_keeps_the_rule_passes(rule: Callable[[Tree], Iterable[Import]], path: str, source: str) -> None:
    assert not list(rule({PurePosixPath(path): source}))


def test_the_gateway_runs_without_torch() -> None:
    """The same as the rule above, for what third-party packages pull in."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "services/gateway").rglob("*.py"))
    modules = [".".join(path.parts) for path in paths if path.name not in ("__init__", "__main__")]
    imports = "\n".join(f"import {name}" for name in sorted(modules))
    program = f"import sys\n{imports}\nassert 'torch' not in sys.modules, 'torch was imported'"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
