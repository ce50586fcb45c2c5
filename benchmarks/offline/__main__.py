"""`python -m benchmarks.offline`: times of the models without services around them. See docs/benchmarks-offline.md."""

from __future__ import annotations

import datetime
import json
import sys
from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.offline.compare import compare
from benchmarks.offline.options import Options, parse
from benchmarks.offline.profiling import profiles, tables
from benchmarks.offline.rates import measured_rates
from benchmarks.offline.results import Setting
from benchmarks.offline.table import comparison
from benchmarks.offline.upstream import Upstream, UpstreamError


def main() -> int:
    """Command line."""
    options = parse()
    torch.set_num_threads(options.threads)
    try:
        found = _profile(options) if options.profile else _compare(options)
    except UpstreamError as error:
        print(f"benchmarks.offline: {error}", file=sys.stderr)
        return 1
    if options.json_file:
        options.json_file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def _compare(options: Options) -> dict[str, Any]:
    python = options.upstream_python
    with Upstream(python, options.threads) if python else nullcontext() as upstream:
        setting = _setting(options, upstream.versions if upstream else None)
        described = setting.as_json()
        print(setting)
        rows = []
        for part in options.parts:
            of_part = list(compare(part, options, setting.rates, upstream))
            if of_part:
                print(f"\n{comparison(of_part)}", flush=True)
            rows += of_part
    return {"setting": described, "rows": [row.as_json() for row in rows]}


def _profile(options: Options) -> dict[str, Any]:
    setting = _setting(options, None)
    described = setting.as_json()
    print(setting)
    found = []
    for part in options.parts:
        of_part = profiles(part, options)
        print(f"\n{tables(of_part)}", flush=True)
        found += of_part
    return {"setting": described, "profiles": [profile.as_json() for profile in found]}


def _setting(options: Options, upstream: dict[str, str] | None) -> Setting:
    rates = measured_rates(options.device, options.rates_s)
    return Setting(options.device, options.threads, rates, upstream, datetime.datetime.now())


if __name__ == "__main__":
    sys.exit(main())
