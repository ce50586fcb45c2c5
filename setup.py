"""Build step of the package: Python code for protos/, in `moshi_cluster.v1`. Everything else is in pyproject.toml.

It is part of every wheel and of every editable installation; `python setup.py stubs` makes it here.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import Command, setup
from setuptools.command.build_py import build_py

PACKAGE = "moshi_cluster"
LINKS = ("audio", "checkpoints", "clients", "cluster", "models", "services", "tools")


class Stubs(Command):
    """Writes moshi_cluster/v1 in place."""

    description = "Python code for protos/"
    user_options: list[tuple[str, str | None, str]] = []

    def initialize_options(self) -> None:
        """There are none."""

    def finalize_options(self) -> None:
        """There are none."""

    def run(self) -> None:
        """Runs the protocol buffer compiler."""
        generate(Path())


class BuildWithStubs(build_py):
    """Adds the stubs to what is built."""

    def run(self) -> None:
        """Leaves nothing of an earlier build in the wheel."""
        check_links()
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / PACKAGE, ignore_errors=True)
        super().run()
        generate(Path() if self.editable_mode else Path(self.build_lib))


def check_links() -> None:
    """A checkout without symbolic links has text files in their place, and would make an empty package."""
    broken = [name for name in LINKS if not Path(PACKAGE, name).is_dir()]
    if broken:
        sys.exit(
            f"{PACKAGE}/{broken[0]} is no folder: this checkout has lost its symbolic links. Check out again with "
            "`git clone -c core.symlinks=true` (Windows: in developer mode), or build from a source distribution."
        )


def generate(folder: Path) -> None:
    """moshi_cluster/v1 below `folder`, from protos/. Exits when a proto has errors."""
    # Only building needs the compiler; it is in build-system.requires.
    from grpc_tools import protoc

    protos = sorted(map(str, Path("protos").rglob("*.proto")))
    target = folder / PACKAGE / "v1"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", "-Iprotos", *outputs, *protos]) != 0:
        sys.exit("protos/ could not be compiled")
    (target / "__init__.py").touch()


setup(cmdclass={"build_py": BuildWithStubs, "stubs": Stubs})
