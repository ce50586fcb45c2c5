"""The examples of clients/examples, built as docs/clients.md says, with what the machine has of each language.

Each function makes the program in a folder of its own and returns its command; where a toolchain is missing it skips
the test with the reason.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import google.rpc
import pytest

from tests.toolchains import installed, present, succeeds, words_of

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "clients/examples"
PROTOS = ROOT / "protos"
CONTRACT = [f"moshi_cluster/v1/{name}.proto" for name in ("common", "gateway")]
GOOGLE = Path(next(iter(google.rpc.__path__))).parents[1]
"""Where google/rpc/*.proto lie: the Python package brings them too."""
GO_PACKAGES = Path("/usr/share/gocode")
RUST_BUILD = ROOT / "build/rust"
"""Kept, not checked in: a hundred crates take minutes once."""
JARS = Path("/usr/share/java")
JAVA_LIBRARIES = {
    "libgrpc-java": "grpc-netty",
    "libprotobuf-java": "protobuf",
    "libgoogle-common-protos-java": "proto-google-common-protos",
    "libnetty-java": "netty-codec-http2",
    "libguava-java": "guava",
    "libperfmark-java": "perfmark-api",
    "libgeronimo-annotation-1.3-spec-java": "geronimo-annotation-1.3-spec",
}
"""A library of each package that Java needs beside its compiler."""

Command = list[str]


def python(_folder: Path) -> Command:
    return [sys.executable, str(EXAMPLES / "python/converse.py")]


def cpp(folder: Path) -> Command:
    compiler, plugin = installed("g++"), installed("grpc_cpp_plugin")
    present(Path("/usr/include/grpcpp/grpcpp.h"), "libgrpc++-dev")
    flags = words_of(installed("pkg-config"), "--cflags", "--libs", "grpc++", "protobuf").split()
    rpc = ["google/rpc/status.proto", "google/rpc/error_details.proto"]
    outputs = [f"--cpp_out={folder}", f"--grpc_out={folder}", f"--plugin=protoc-gen-grpc={plugin}"]
    words_of(installed("protoc"), f"-I{PROTOS}", f"-I{GOOGLE}", *outputs, *CONTRACT, *rpc)
    # What protoc makes for files without a service holds nothing.
    sources = [*map(str, folder.rglob("*.pb.cc")), str(EXAMPLES / "cpp/converse.cc")]
    program = str(folder / "converse")
    words_of(compiler, "-std=c++17", "-O0", f"-I{folder}", "-o", program, *sources, *flags)
    return [program]


def go(folder: Path) -> Command:
    """With Debian's packages, which are found without modules."""
    compiler = installed("go")
    present(GO_PACKAGES / "src/google.golang.org/grpc", "golang-google-grpc-dev")
    sources = folder / "src"
    sources.mkdir()
    installed("protoc-gen-go"), installed("protoc-gen-go-grpc")
    outputs = [f"--go_out={sources}", f"--go-grpc_out={sources}"]
    words_of(installed("protoc"), f"-I{PROTOS}", *outputs, *CONTRACT)
    settings = {"GO111MODULE": "off", "GOPATH": f"{folder}:{GO_PACKAGES}", "GOFLAGS": ""}
    program = str(folder / "converse")
    source = str(EXAMPLES / "go/converse.go")
    words_of(compiler, "build", "-o", program, source, environment=os.environ | settings)
    return [program]


def java(folder: Path) -> Command:
    compiler, runtime, plugin = installed("javac"), installed("java"), installed("grpc_java_plugin")
    for package, library in JAVA_LIBRARIES.items():
        present(JARS / f"{library}.jar", package)
    libraries = str(JARS / "*")
    outputs = [f"--java_out={folder}", f"--grpc-java_out={folder}", f"--plugin=protoc-gen-grpc-java={plugin}"]
    words_of(installed("protoc"), f"-I{PROTOS}", *outputs, *CONTRACT)
    sources = [*map(str, folder.rglob("*.java")), str(EXAMPLES / "java/Converse.java")]
    words_of(compiler, "-nowarn", "-cp", libraries, "-d", str(folder / "classes"), *sources)
    return [runtime, "-cp", f"{folder / 'classes'}:{libraries}", "Converse"]


def node(folder: Path) -> Command:
    runtime, npm = installed("node"), installed("npm")
    copy = copied("node", folder)
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0")
    if not succeeds(npm, "install", *options, folder=copy, timeout_s=120):
        pytest.skip("npm could not install what the example depends on")
    return [runtime, str(copy / "converse.js")]


def rust(folder: Path) -> Command:
    """Nothing is downloaded: crates must be in cargo's own cache, or where its configuration says."""
    cargo, _ = installed("cargo"), installed("protoc")
    copy = copied("rust", folder)
    if not succeeds(cargo, "fetch", "--offline", folder=copy, timeout_s=60):
        pytest.skip("the crates are not on this machine (cargo fetch, in clients/examples/rust)")
    words_of(cargo, "build", "--offline", "--target-dir", str(RUST_BUILD), folder=copy)
    return [str(RUST_BUILD / "debug/converse")]


def copied(language: str, folder: Path) -> Path:
    """A copy of an example that finds protos/ where it expects it, so that nothing is written into the repository."""
    (folder / "protos").symlink_to(PROTOS)
    made = shutil.ignore_patterns("node_modules", "target", "*lock*")  # by building it where it lies
    return Path(shutil.copytree(EXAMPLES / language, folder / "clients/examples" / language, ignore=made))


BUILDS: dict[str, Callable[[Path], Command]] = {build.__name__: build for build in (python, cpp, go, java, node, rust)}
