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
PRODUCT = ("audio", "clients", "cluster", "models", "services", "tools")
"""Folders of the root that are imported as `moshi_cluster.<folder>`."""
PACKAGES = (*PRODUCT, "scripts", "benchmarks", "training", "tests")
UPSTREAM = ("moshi", "moshi_mlx", "rustymimi")
MAY_RUN_UPSTREAM = ("benchmarks", "tests")
MODEL_LIBRARIES = ("torch", "numpy", "safetensors", "models", *sys.stdlib_module_names)
AUDIO_LIBRARIES = ("numpy", "av", "audio", *sys.stdlib_module_names)
LOADING_LIBRARIES = ("huggingface_hub", "sentencepiece")
CODEC_BEFORE_TRITON, RUNS_IN_TRITON = "services/codec/triton", "python_model.py"
COMPILED_KERNELS = "models/kernels/compiled"
SIMULATORS = "tests.services.gateway.api.telephony.simulators"

Tree = Mapping[PurePosixPath, str]  # path from the root -> source


GATEWAY = "services.gateway"


@dataclass(frozen=True)
class Import:
    """`module` is imported on `line` of the file `path`; of `from a.b import c`, both a.b and a.b.c count.

    A module of ours is named by where it lies: `services.lm` for `moshi_cluster.services.lm`.
    """

    path: PurePosixPath
    line: int
    module: str

    def is_of(self, *packages: str) -> bool:
        return any(self.module == package or self.module.startswith(f"{package}.") for package in packages)


def imports_of(path: PurePosixPath, source: str) -> Iterator[Import]:
    """Every import of a file, wherever it stands; relative ones resolved."""
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.Import):
            yield from (Import(path, node.lineno, _place(alias.name)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            anchor = path.parts[: -node.level] if node.level else ()
            base = ".".join([*anchor, *filter(None, [node.module])])
            names = (base, *(f"{base}.{alias.name}" for alias in node.names))
            yield from (Import(path, node.lineno, name if node.level else _place(name)) for name in names)


def _place(module: str) -> str:
    """Where a module lies; one of ours that is not imported below `moshi_cluster` gets a name that no rule allows."""
    first, _, rest = module.partition(".")
    if first == "moshi_cluster" and rest.partition(".")[0] in PRODUCT:
        return rest
    return f"bare:{module}" if first in PRODUCT else module


def imports_in(tree: Tree, *folders: str) -> Iterator[Import]:
    """Every import of the files below the folders."""
    for path, source in tree.items():
        if any(path.is_relative_to(folder) for folder in folders):
            yield from imports_of(path, source)


# --- the rules: each yields the imports that break it


def product_has_one_name(tree: Tree) -> Iterator[Import]:
    """What the wheel holds is imported below `moshi_cluster`: under two names a module would be loaded twice."""
    return (found for found in imports_in(tree, *PACKAGES) if found.module.startswith("bare:"))


def services_stand_alone(tree: Tree) -> Iterator[Import]:
    """A service imports no other service, only services.common; services.common imports none."""
    for found in imports_in(tree, "services"):
        own = f"services.{found.path.parts[1]}"
        if found.is_of("services") and found.module != "services" and not found.is_of(own, "services.common"):
            yield found


def gateway_never_reaches_torch(tree: Tree) -> Iterator[Import]:
    """The gateway imports torch neither itself nor through anything of ours; of models only the sampling limits."""
    for found in _reached_from([path for path in tree if path.is_relative_to("services/gateway")], tree):
        if found.is_of("torch") or (found.is_of("models") and not _is_sampling(found)):
            yield found


def codec_before_triton_never_reaches_torch(tree: Tree) -> Iterator[Import]:
    """With the backend triton the codec imports torch neither itself nor through anything of ours; what runs in Triton
    does, and a backend's own imports are made once it is chosen."""
    own = [path for path in tree if path.is_relative_to(CODEC_BEFORE_TRITON) and path.name != RUNS_IN_TRITON]
    for found in _reached_from(own, tree):
        if found.is_of("torch", "models"):
            yield found


def _reached_from(start: list[PurePosixPath], tree: Tree) -> Iterator[Import]:
    """Every import of these files and of all that they reach."""
    waiting, reached = list(start), set(start)
    while waiting:
        path = waiting.pop()
        for found in imports_of(path, tree[path]):
            yield found
            for file in _files_of(found.module, tree):
                if file not in reached:
                    reached.add(file)
                    waiting.append(file)


def _is_sampling(found: Import) -> bool:
    return found.module == "models" or found.is_of("models.sampling")


def gateway_rooms_have_an_order(tree: Tree) -> Iterator[Import]:
    """In the gateway: api -> calls -> admission, workers, store, audio; settings and metrics know none of them."""
    for found in imports_in(tree, "services/gateway"):
        room, target = _room(found.path), found.module.removeprefix(f"{GATEWAY}.").partition(".")[0]
        if found.is_of(GATEWAY) and room in _MAY_IMPORT and target not in (GATEWAY, room, *_MAY_IMPORT[room]):
            yield found


_GROUND = ("settings", "metrics")
_MAY_IMPORT = {
    "api": ("calls", "admission", "audio", *_GROUND),
    "calls": ("admission", "workers", "store", "audio", *_GROUND),
    "admission": _GROUND,
    "workers": _GROUND,
    "store": _GROUND,
    "audio": (),
    "metrics": (),
    "settings": (),
}


def _room(path: PurePosixPath) -> str:
    return path.relative_to("services/gateway").parts[0].removesuffix(".py")


def transports_are_independent(tree: Tree) -> Iterator[Import]:
    """In services/gateway/api no transport imports another; the HTTP port carries WebSockets."""
    for found in imports_in(tree, "services/gateway/api"):
        own, target = found.path.parts[3], found.module.removeprefix(f"{GATEWAY}.api.").partition(".")[0]
        others = {"grpc", "websocket", "telephony", "http"} - {own}
        carried = own == "http" and target in ("websocket", "telephony")
        if found.is_of(f"{GATEWAY}.api") and target in others and not carried:
            yield found


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
    """models import torch, numpy, safetensors and each other; models/loading the hub and the tokenizer as well, and
    models/kernels/compiled Triton, which is not there with CPU builds of torch."""
    for found in imports_in(tree, "models"):
        more = LOADING_LIBRARIES if found.path.is_relative_to("models/loading") else ()
        more = ("triton",) if found.path.is_relative_to(COMPILED_KERNELS) else more
        if not found.is_of(*MODEL_LIBRARIES, *more):
            yield found


def audio_is_signal_code(tree: Tree) -> Iterator[Import]:
    """audio knows numpy, PyAV and itself: it is shared by the gateway, the clients and the training."""
    return (found for found in imports_in(tree, "audio") if not found.is_of(*AUDIO_LIBRARIES))


def clients_speak_only_the_protocol(tree: Tree) -> Iterator[Import]:
    """clients import neither services nor models nor torch; audio is theirs too."""
    return (found for found in imports_in(tree, "clients") if found.is_of("services", "models", "tools", "torch"))


def the_client_library_stands_alone(tree: Tree) -> Iterator[Import]:
    """What other programs import holds no command line."""
    return (found for found in imports_in(tree, "clients/telephony") if found.is_of("clients.cli", "argparse"))


def nothing_needs_what_measures_it(tree: Tree) -> Iterator[Import]:
    """What runs the system imports neither training nor benchmarks; the training may measure with the benchmarks, and
    the benchmarks know nothing of the training."""
    for found in imports_in(tree, *PRODUCT, "scripts"):
        if found.is_of("training", "benchmarks"):
            yield found
    yield from (found for found in imports_in(tree, "benchmarks") if found.is_of("training"))


def scripts_are_only_run(tree: Tree) -> Iterator[Import]:
    """Nobody imports scripts: what is worth importing lies elsewhere."""
    for found in imports_in(tree, *PACKAGES):
        if found.is_of("scripts") and not found.path.is_relative_to("scripts"):
            yield found


def services_are_not_started_from_within(tree: Tree) -> Iterator[Import]:
    """services and models import neither cluster nor tools, which are about them."""
    return (found for found in imports_in(tree, "services", "models") if found.is_of("cluster", "tools"))


def nothing_needs_the_tests(tree: Tree) -> Iterator[Import]:
    """tests are imported by tests; their telephone systems also call what the benchmarks measure."""
    for found in imports_in(tree, *PACKAGES):
        calls = found.path.is_relative_to("benchmarks") and found.is_of(SIMULATORS)
        if found.is_of("tests") and not found.path.is_relative_to("tests") and not calls:
            yield found


def upstream_is_never_imported(tree: Tree) -> Iterator[Import]:
    """Upstream's packages stay out; benchmarks may time them and tests talk to them, in an environment of their own."""
    for found in imports_in(tree, *PACKAGES):
        if found.is_of(*UPSTREAM) and not any(found.path.match(f"{root}/*/upstream*.py") for root in MAY_RUN_UPSTREAM):
            yield found


def no_package_is_called_moshi(tree: Tree) -> Iterator[Import]:
    """A file or folder called moshi would hide upstream's package, or be hidden by it."""
    return (Import(path, 1, "moshi") for path in tree if "moshi" in (*path.parts[:-1], path.stem))


RULES: tuple[Callable[[Tree], Iterable[Import]], ...] = (
    product_has_one_name,
    services_stand_alone,
    gateway_never_reaches_torch,
    codec_before_triton_never_reaches_torch,
    gateway_rooms_have_an_order,
    transports_are_independent,
    engines_know_no_grpc,
    servers_know_no_torch,
    models_are_pure,
    audio_is_signal_code,
    clients_speak_only_the_protocol,
    the_client_library_stands_alone,
    nothing_needs_what_measures_it,
    scripts_are_only_run,
    services_are_not_started_from_within,
    nothing_needs_the_tests,
    upstream_is_never_imported,
    no_package_is_called_moshi,
)


def _files_of(module: str, tree: Tree) -> list[PurePosixPath]:
    """The files that importing a module of ours runs: the packages above it and itself."""
    parts = module.split(".")
    folders = [PurePosixPath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    candidates = [folder / "__init__.py" for folder in folders] + [folders[-1].with_suffix(".py")]
    return [path for path in candidates if path in tree]


_GW = "moshi_cluster.services.gateway"


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
        (product_has_one_name, "services/lm/engine.py", "from services.codec.engine import step"),
        (product_has_one_name, "benchmarks/online/call.py", "import clients.cli.converse"),
        (services_stand_alone, "services/lm/engine.py", "from moshi_cluster.services.codec.engine import step"),
        (services_stand_alone, "services/lm/engine.py", "from ..codec import engine"),
        (services_stand_alone, "services/lm/engine.py", "from moshi_cluster.services import gateway"),
        (services_stand_alone, "services/common/slots.py", "import moshi_cluster.services.lm"),
        (gateway_never_reaches_torch, "services/gateway/audio/edge.py", "def late():\n    import torch.nn"),
        (gateway_never_reaches_torch, "services/gateway/calls/spec.py", "from moshi_cluster.models.mimi import Mimi"),
        (codec_before_triton_never_reaches_torch, "services/codec/triton/frames.py", "from torch import Tensor"),
        (
            codec_before_triton_never_reaches_torch,
            "services/codec/triton/frames.py",
            "import moshi_cluster.models.mimi",
        ),
        (gateway_rooms_have_an_order, "services/gateway/calls/call.py", f"from {_GW}.api.grpc import requests"),
        (gateway_rooms_have_an_order, "services/gateway/calls/call.py", f"from {_GW}.server import GatewayService"),
        (gateway_rooms_have_an_order, "services/gateway/api/grpc/requests.py", f"import {_GW}.workers.pool"),
        (gateway_rooms_have_an_order, "services/gateway/admission/queue.py", f"from {_GW}.calls.call import Call"),
        (gateway_rooms_have_an_order, "services/gateway/admission/queue.py", f"from {_GW}.workers import pool"),
        (gateway_rooms_have_an_order, "services/gateway/workers/pool.py", f"from {_GW} import admission"),
        (gateway_rooms_have_an_order, "services/gateway/store/writer.py", f"from {_GW}.calls.history import History"),
        (gateway_rooms_have_an_order, "services/gateway/api/grpc/requests.py", f"from {_GW}.store import keys"),
        (gateway_rooms_have_an_order, "services/gateway/audio/framing.py", f"from {_GW}.calls.spec import CallSpec"),
        (gateway_rooms_have_an_order, "services/gateway/metrics.py", f"from {_GW}.settings import GatewaySettings"),
        (gateway_rooms_have_an_order, "services/gateway/settings.py", f"from {_GW}.calls import limits"),
        (transports_are_independent, "services/gateway/api/grpc/requests.py", f"from {_GW}.api.websocket import query"),
        (transports_are_independent, "services/gateway/api/websocket/query.py", f"from {_GW}.api.http import server"),
        (transports_are_independent, "services/gateway/api/telephony/wire.py", f"import {_GW}.api.websocket.query"),
        (engines_know_no_grpc, "services/lm/engine.py", "from grpc import aio"),
        (engines_know_no_grpc, "services/common/worker/engine.py", "from moshi_cluster.v1 import lm_pb2"),
        (servers_know_no_torch, "services/codec/server.py", "from torch import Tensor"),
        (models_are_pure, "models/mimi/codec.py", "import asyncio, prometheus_client"),
        (models_are_pure, "models/mimi/codec.py", "from moshi_cluster.services.common import errors"),
        (models_are_pure, "models/moshi_lm/lm.py", "import sentencepiece"),
        (models_are_pure, "models/kernels/choose.py", "import triton"),
        (audio_is_signal_code, "audio/opus.py", "from moshi_cluster.services.common.errors import InvalidInput"),
        (clients_speak_only_the_protocol, "clients/cli/call.py", "from moshi_cluster.models.mimi import Mimi"),
        (clients_speak_only_the_protocol, "clients/web/page.py", "import moshi_cluster.services.common.rpc"),
        (
            the_client_library_stands_alone,
            "clients/telephony/call.py",
            "from moshi_cluster.clients.cli import recording",
        ),
        (nothing_needs_what_measures_it, "scripts/demo.py", "from training.evaluate import answers"),
        (nothing_needs_what_measures_it, "cluster/columns.py", "from benchmarks.online import caller"),
        (nothing_needs_what_measures_it, "benchmarks/layouts/subject.py", "from training.world import line"),
        (scripts_are_only_run, "tests/scripts/test_demo.py", "from scripts.demo import main"),
        (services_are_not_started_from_within, "services/lm/loading.py", "import moshi_cluster.tools.random_lm"),
        (nothing_needs_the_tests, "benchmarks/online/caller.py", "from tests.golden_set import golden"),
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
        PurePosixPath("services/gateway/session.py"): "from moshi_cluster.services.common import slots",
        PurePosixPath("services/common/slots.py"): "from .arrays import rows",
        PurePosixPath("services/common/arrays.py"): "import torch",
        PurePosixPath("services/common/unused_by_the_gateway.py"): "import torch",
    }
    assert [found.path.name for found in gateway_never_reaches_torch(tree)] == ["arrays.py"]


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (services_stand_alone, "services/lm/server.py", "from moshi_cluster.services.common import rpc\nimport grpc"),
        (gateway_never_reaches_torch, "services/gateway/calls/spec.py", "from moshi_cluster.models import sampling"),
        (gateway_rooms_have_an_order, "services/gateway/api/grpc/requests.py", f"from {_GW}.calls.call import Call"),
        (gateway_rooms_have_an_order, "services/gateway/server.py", f"from {_GW}.api.http.server import HttpServer"),
        (transports_are_independent, "services/gateway/api/http/server.py", f"from {_GW}.api.websocket import handler"),
        (
            models_are_pure,
            "models/loading/source.py",
            "import huggingface_hub\nimport moshi_cluster.models.mimi",
        ),
        (models_are_pure, "models/kernels/compiled/choose.py", "import triton.language as tl"),
        (clients_speak_only_the_protocol, "clients/cli/call.py", "from moshi_cluster.audio import g711"),
        (nothing_needs_what_measures_it, "training/evaluate/live.py", "from benchmarks.online import caller"),
        (upstream_is_never_imported, "benchmarks/offline/upstream.py", "import moshi"),
        (upstream_is_never_imported, "services/lm/server.py", "import moshi_cluster.v1.lm_pb2"),
    ],
)
def test_a_file_that_keeps_the_rule_passes(rule: Callable[[Tree], Iterable[Import]], path: str, source: str) -> None:
    assert not list(rule({PurePosixPath(path): source}))


def test_the_gateway_runs_without_torch() -> None:
    """The same as the rule above, for what third-party packages pull in."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "services/gateway").rglob("*.py"))
    modules = [".".join(path.parts) for path in paths if path.name not in ("__init__", "__main__")]
    imports = "\n".join(f"import moshi_cluster.{name}" for name in sorted(modules))
    program = f"import sys\n{imports}\nassert 'torch' not in sys.modules, 'torch was imported'"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
