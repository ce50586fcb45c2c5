"""ghz runner: the scenarios with the ghz on PATH, `python -m benchmarks.ghz [SCENARIO ...]`."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ghz import generate, report
from benchmarks.ghz.scenario import CALIBRATION, NAMES, GhzScenario, load

REPORTS = generate.FOLDER / "reports"
_NOT_INSTALLED = """\
ghz is not on PATH. It is one program without dependencies: get release 0.121 or newer for your machine from
https://github.com/bojand/ghz/releases and put it into a folder of PATH. `python -m benchmarks.online` needs nothing of
the kind: it drives similar scenarios with callers of this repository."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when every call ended as its scenario expects, 1 when not, 2 when nothing could be run."""
    options = _parse(arguments)
    if shutil.which("ghz") is None:
        print(_NOT_INSTALLED, file=sys.stderr)
        return 2
    generate.write_all()
    REPORTS.mkdir(parents=True, exist_ok=True)
    targets = {"gateway": options.target, "codec": options.codec_target, "lm": options.lm_target}
    as_expected = True
    for name in options.scenarios or NAMES:
        scenario = load(name)
        print(f"{name} ...", file=sys.stderr, flush=True)
        ran = _run(scenario, targets[scenario.service], options.calls)
        as_expected &= ran and _tell(scenario)
    return 0 if as_expected else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ghz", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"all unless given: {', '.join(NAMES)}")
    parser.add_argument("--target", default="localhost:50051", help="the gateway, host:port")
    parser.add_argument("--codec-target", default="localhost:50052", help="a codec worker, for codec-only")
    parser.add_argument("--lm-target", default="localhost:50053", help="an lm worker, for lm-only")
    parser.add_argument("--calls", type=int, help="calls at once, in place of each scenario's own number")
    options = parser.parse_args(arguments)
    if unknown := set(options.scenarios) - set(NAMES):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    return options


def _run(scenario: GhzScenario, target: str, calls: int | None) -> bool:
    """Whether ghz wrote a report; it says itself why not."""
    output = _report_path(scenario.name)
    output.unlink(missing_ok=True)
    command = ["ghz", "--config", str(scenario.path), "--format", "json", "--output", str(output)]
    if calls is not None:
        connections = min(calls, scenario.config["connections"])  # ghz refuses more connections than calls
        command += [f"--total={calls}", f"--concurrency={calls}", f"--connections={connections}"]
    code = subprocess.run([*command, target], check=False).returncode
    if code != 0:
        print(f"{scenario.name}: ghz ended with code {code}", file=sys.stderr)
    return code == 0 and output.exists()


def _tell(scenario: GhzScenario) -> bool:
    """Prints what came of it; whether all of it was expected."""
    result = _read(scenario)
    drift_s = _read(load(CALIBRATION)).drift_s() if _report_path(CALIBRATION).exists() else None
    print(report.line(result, drift_s), flush=True)
    for message, calls in result.errors.items():
        print(f"  {calls} x {message}", file=sys.stderr)
    if result.unexpected:
        print(f"{scenario.name}: not expected: {', '.join(result.unexpected)}", file=sys.stderr)
    return not result.unexpected


def _read(scenario: GhzScenario) -> report.Result:
    return report.read(scenario, json.loads(_report_path(scenario.name).read_text(encoding="utf-8")))


def _report_path(name: str) -> Path:
    return REPORTS / f"{name}.json"


if __name__ == "__main__":
    sys.exit(main())
