"""Offline benchmark, `python -m benchmarks.offline`: the models without services (docs/benchmarks-offline.md)."""

from __future__ import annotations

import datetime
import json
import os
import sys
from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.offline.compare import compare
from benchmarks.offline.options import Options, parse
from benchmarks.offline.profiling import profiles, tables
from benchmarks.offline.rates import measured_rates
from benchmarks.offline.results import Row, Setting
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
    started, load_average = datetime.datetime.now(), os.getloadavg()[0]
    rates = measured_rates(options.device, options.rates_s)
    rows: dict[str, list[Row]] = {}
    python = options.upstream_python
    with Upstream(python, options.threads) if python else nullcontext() as upstream:
        for size in options.sizes:
            rows[size.name] = list(compare(size, options, upstream))
            rates = rates.or_better(measured_rates(options.device, options.rates_s))
    versions = upstream.versions if upstream else None
    setting = Setting(options.device, options.threads, rates, versions, started, load_average)
    print("\n\n".join([str(setting), *(comparison(of_size, rates) for of_size in rows.values() if of_size)]))
    return {"setting": setting.as_json(), "rows": [row.as_json(rates) for of_size in rows.values() for row in of_size]}


def _profile(options: Options) -> dict[str, Any]:
    started, load_average = datetime.datetime.now(), os.getloadavg()[0]
    found = {size.name: profiles(size, options) for size in options.sizes}
    rates = measured_rates(options.device, options.rates_s)
    setting = Setting(options.device, options.threads, rates, None, started, load_average)
    print("\n\n".join([str(setting), *map(tables, found.values())]))
    return {"setting": setting.as_json(), "profiles": [one.as_json() for size in found.values() for one in size]}


if __name__ == "__main__":
    sys.exit(main())
