"""A live Prometheus of this machine with this repository's rules, their waits shortened."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from benchmarks.ending import end
from moshi_cluster.cluster.direct_http import open_direct
from moshi_cluster.cluster.ports import LOOPBACK, free_ports

RULES = Path("deploy/monitoring/rules")
_FOR = re.compile(r"^(\s+for: )(\d+)([sm])$", re.MULTILINE)
_SECONDS = {"s": 1, "m": 60}
_ANSWER_TIMEOUT_S, _END_TIMEOUT_S = 5.0, 10.0
_POLL_S = 0.1


class NoPrometheus(Exception):
    """This machine has none, or it did not start."""


def shortened(rules: str, factor: float) -> str:
    """A file of rules with every `for` multiplied, a second at least."""
    return _FOR.sub(lambda found: f"{found[1]}{max(1, round(int(found[2]) * _SECONDS[found[3]] * factor))}s", rules)


class PrometheusServer:
    """A context manager: entering starts it, and returns once it answers. Raises NoPrometheus."""

    def __init__(self, targets: Mapping[str, str], folder: Path, factor: float, scrape_s: float = 1.0) -> None:
        """targets: host:port of a /metrics by a process's name, lm-0. folder: for what it keeps. factor: of every
        alert's `for`.
        """
        self._folder = folder
        [port] = free_ports(1)
        self._address = f"{LOOPBACK}:{port}"
        self._process: subprocess.Popen[bytes] | None = None
        rules = folder / "rules"
        rules.mkdir()
        for path in RULES.glob("*.yml"):
            (rules / path.name).write_text(shortened(path.read_text(), factor))
        (folder / "prometheus.yml").write_text(json.dumps(_config(targets, rules, scrape_s)))  # JSON is YAML

    def __enter__(self) -> Self:
        program = shutil.which("prometheus")
        if program is None:
            raise NoPrometheus("no `prometheus` on the PATH (Debian: apt-get install prometheus)")
        options = ("--config.file", self._folder / "prometheus.yml", "--storage.tsdb.path", self._folder / "data")
        with (self._folder / "prometheus.log").open("wb") as log:
            listen = f"--web.listen-address={self._address}"
            self._process = subprocess.Popen([program, *map(str, options), listen], stdout=log, stderr=log)
        self.wait_for(lambda: self._answers(), 30.0, "Prometheus does not answer")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        end(self._process, _END_TIMEOUT_S)

    def query(self, expression: str) -> list[Any]:
        """The series that an expression gives now. Raises OSError, also for what is no expression."""
        answer = self._get(f"/api/v1/query?{urlencode({'query': expression})}")
        result: list[Any] = answer["data"]["result"]
        return result

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        return {series["metric"]["alertname"] for series in self.query('ALERTS{alertstate="firing"}')}

    def wait_for(self, happened: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Seconds until something has happened. Raises NoPrometheus with `what` when it does not."""
        start_s = time.monotonic()
        while not happened():
            if time.monotonic() - start_s > timeout_s:
                raise NoPrometheus(f"{what} within {timeout_s:g} s")
            time.sleep(_POLL_S)
        return time.monotonic() - start_s

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise NoPrometheus((self._folder / "prometheus.log").read_text()[-1000:])
        try:
            self.query("vector(1)")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> Any:
        with open_direct(f"http://{self._address}{path}", _ANSWER_TIMEOUT_S) as answer:
            return json.load(answer)


def _config(targets: Mapping[str, str], rules: Path, scrape_s: float) -> dict[str, Any]:
    jobs: dict[str, list[Any]] = {}
    for name, target in targets.items():
        jobs.setdefault(name.partition("-")[0], []).append({"targets": [target], "labels": {"instance": name}})
    interval = f"{round(1000 * scrape_s)}ms"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(rules / "*.yml")],
        "scrape_configs": [{"job_name": job, "static_configs": places} for job, places in jobs.items()],
    }
