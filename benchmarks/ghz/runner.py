"""ghz process: one scenario with the ghz on PATH, its report read."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.ghz import generate, report
from benchmarks.ghz.scenario import GhzScenario

CONFIGURATIONS = generate.FOLDER / "configurations"
REPORTS = generate.FOLDER / "reports"


def run(scenario: GhzScenario, target: str) -> report.Result | None:
    """None when ghz wrote no report; it says itself why not."""
    for folder in (CONFIGURATIONS, REPORTS):
        folder.mkdir(parents=True, exist_ok=True)
    configuration, output = (folder / f"{scenario.name}.json" for folder in (CONFIGURATIONS, REPORTS))
    configuration.write_text(json.dumps(scenario.config, indent=2), encoding="utf-8")
    output.unlink(missing_ok=True)
    print(f"{scenario.name} ...", file=sys.stderr, flush=True)
    command = ["ghz", "--config", str(configuration), "--format", "json", "--output", str(output), target]
    code = subprocess.run(command, check=False).returncode
    if code != 0 or not output.exists():
        print(f"{scenario.name}: ghz ended with code {code}", file=sys.stderr)
        return None
    return report.read(scenario, json.loads(output.read_text(encoding="utf-8")))


def calibrated(scenario: GhzScenario, target: str) -> report.Result | None:
    """The scenario's calls as loopback calls; None, said why, where that says nothing of them."""
    calibration = scenario.calibration()
    result = run(calibration, target) if calibration else None
    if result is not None and result.unexpected:
        print(f"{result.scenario.name}: of no use: {', '.join(result.unexpected)}", file=sys.stderr)
        return None
    return result
