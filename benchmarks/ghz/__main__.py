"""ghz runner: the scenarios with the ghz on PATH, `python -m benchmarks.ghz [SCENARIO ...]`."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from benchmarks.ghz import generate, report, runner
from benchmarks.ghz.scenario import NAMES, GhzScenario, load

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
    targets = {"gateway": options.target, "codec": options.codec_target, "lm": options.lm_target}
    scenarios = [_shaped(load(name), options) for name in options.scenarios or NAMES]
    as_expected = [_measure(scenario, targets[scenario.service]) for scenario in scenarios]
    return 0 if all(as_expected) else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ghz", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"all unless given: {', '.join(NAMES)}")
    parser.add_argument("--target", default="localhost:50051", help="the gateway, host:port")
    parser.add_argument("--codec-target", default="localhost:50052", help="a codec worker, for codec-only")
    parser.add_argument("--lm-target", default="localhost:50053", help="an lm worker, for lm-only")
    parser.add_argument("--calls", type=int, help="calls at once, in place of each scenario's own number")
    parser.add_argument("--call-s", type=float, help="length of a call in seconds, in place of each scenario's own")
    options = parser.parse_args(arguments)
    if unknown := set(options.scenarios) - set(NAMES):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    return options


def _shaped(scenario: GhzScenario, options: argparse.Namespace) -> GhzScenario:
    if options.calls is not None:
        scenario = scenario.with_calls(options.calls)
    if options.call_s is not None:
        scenario = scenario.with_call_s(options.call_s)
    return scenario


def _measure(scenario: GhzScenario, target: str) -> bool:
    """Runs it and prints what came of it; whether all of it was expected."""
    calibration = runner.calibrated(scenario, target)
    result = runner.run(scenario, target)
    if result is None:
        return False
    print(report.line(result, calibration), flush=True)
    for message, calls in result.errors.items():
        print(f"  {calls} x {message}", file=sys.stderr)
    if result.unexpected:
        print(f"{scenario.name}: not expected: {', '.join(result.unexpected)}", file=sys.stderr)
    return not result.unexpected


if __name__ == "__main__":
    sys.exit(main())
