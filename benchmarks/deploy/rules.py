"""Prometheus' rules as the object that its operator reads, `python -m benchmarks.deploy.rules`.

The rules in deploy/monitoring are the source; what is written is kept beside the PodMonitors, and a test compares it.
"""

from __future__ import annotations

from pathlib import Path

import yaml  # type: ignore[import-untyped]

RULES = (Path("deploy/monitoring/rules/recording.yml"), Path("deploy/monitoring/rules/alerts.yml"))
WRITTEN = Path("deploy/k8s/components/monitoring/prometheus-rule.yaml")
_HEAD = "# Written by `python -m benchmarks.deploy.rules` from deploy/monitoring/rules.\n"


def prometheus_rule() -> str:
    """A PrometheusRule, as YAML, with every group of the rules."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "moshi-cluster"},
        "spec": {"groups": groups},
    }
    return _HEAD + str(yaml.safe_dump(rule, sort_keys=False, width=1000, allow_unicode=True))


if __name__ == "__main__":
    WRITTEN.write_text(prometheus_rule(), encoding="utf-8")
