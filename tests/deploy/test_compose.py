"""docker-compose.yml: what every service of it promises."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import yaml

from moshi_cluster.services.codec.settings import CodecSettings
from moshi_cluster.services.gateway.settings import GatewaySettings
from moshi_cluster.services.lm.settings import LmSettings
from tests.dockerfile import ROOT, stages

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS = {"codec": CodecSettings, "lm": LmSettings, "gateway": GatewaySettings}
# The same in every container, whose standard input is nobody's.
INSIDE = {"host", "port", "metrics_port", "http_port", "attached"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_no_more_than_it_has_to(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"] and service["pids_limit"]
    assert service["logging"]["options"].keys() >= {"max-size", "max-file"}


@pytest.mark.parametrize("name", SERVICES)
def test_it_is_open_to_this_machine_alone_unless_somebody_says_otherwise(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("${MOSHI_BIND:-127.0.0.1}:")


@pytest.mark.parametrize("name", SERVICES)
def test_any_number_of_it_can_run(name: str) -> None:
    service = SERVICES[name]
    assert "container_name" not in service
    for port in service.get("ports", []):
        assert re.fullmatch(r"\$\{MOSHI_BIND:-[\d.]+\}:\$\{MOSHI_\w+:-\d+\}:\d+", port), "a range may be given"


@pytest.mark.parametrize(
    ("name", "service"), [(n, n.split("-")[0]) for n in ("codec", "lm", "gateway", "codec-gpu", "lm-gpu")]
)
def test_every_setting_of_a_service_can_be_given_by_name(name: str, service: str) -> None:
    prefix = f"MOSHI_{service.upper()}_"
    known = {f"{prefix}{field.name.upper()}" for field in dataclasses.fields(SETTINGS[service])}  # type: ignore[arg-type]
    given = {variable for variable in SERVICES[name]["environment"] if variable.startswith(prefix)}
    assert given == known - {f"{prefix}{field.upper()}" for field in INSIDE}


def test_a_published_checkpoint_can_be_fetched_with_a_token() -> None:
    for name in ("codec", "lm", "codec-gpu", "lm-gpu", "triton"):
        assert SERVICES[name]["environment"]["HF_TOKEN"] is None, "from the shell"


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_build_arguments_are_those_of_the_stage(name: str) -> None:
    build, found = SERVICES[name]["build"], stages()
    stage = found[build["target"]]
    known = stage.arguments | {"BASE"} | (found["worker"].arguments if stage.parent == "worker" else set())
    assert set(build["args"]) <= known
    assert ("TORCH" in build["args"]) == (stage.parent == "worker")
    assert build["args"].get("TORCH") == ({"worker": "cuda" if name.endswith("-gpu") else "cpu"}).get(stage.parent)


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" not in service])
def test_images_of_others_have_a_version(name: str) -> None:
    assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"])


def test_the_demo_is_the_three_services_alone() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {"codec", "lm", "gateway"}
