"""What `moshi-cluster serve` tells its services, and what it tells the user."""

from __future__ import annotations

import argparse

import pytest

from moshi_cluster.cluster.serve_environment import ServeEnvironment, serve_environment
from moshi_cluster.cluster.serve_options import add_serve


def environment_of(*command: str, environment: dict[str, str] | None = None) -> ServeEnvironment:
    parser = argparse.ArgumentParser()
    add_serve(parser.add_subparsers())
    return serve_environment(parser.parse_args(["serve", *command]), environment or {}, lambda: "best")


def test_without_options_it_listens_where_moshi_does_and_on_this_machine_only() -> None:
    served = environment_of()
    assert served.variables["MOSHI_GATEWAY_HOST"] == "127.0.0.1"
    assert served.variables["MOSHI_GATEWAY_HTTP_PORT"] == "8998"
    assert served.variables["MOSHI_GATEWAY_PORT"] == "50051"
    assert {served.variables[f"MOSHI_{service}_DEVICE"] for service in ("CODEC", "LM")} == {"best"}
    assert served.remarks == ()


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (("--hf-repo", "a/b@c"), {"MOSHI_CODEC_HF_REPO": "a/b@c", "MOSHI_LM_HF_REPO": "a/b@c"}),
        (("--checkpoint", "moshiko"), {"MOSHI_CODEC_CHECKPOINT": "moshiko", "MOSHI_LM_CHECKPOINT": "moshiko"}),
        (("--device", "cuda:1"), {"MOSHI_CODEC_DEVICE": "cuda:1", "MOSHI_LM_DEVICE": "cuda:1"}),
        (("--slots", "4"), {"MOSHI_CODEC_SLOTS": "4", "MOSHI_LM_SLOTS": "4"}),
        (("--host", "0.0.0.0"), {"MOSHI_GATEWAY_HOST": "0.0.0.0"}),
        (("--port", "9000"), {"MOSHI_GATEWAY_HTTP_PORT": "9000"}),
        (("--grpc-port", "9001"), {"MOSHI_GATEWAY_PORT": "9001"}),
        (
            ("--tls-dir", "tls", "--tls-self-signed"),
            {"MOSHI_GATEWAY_TLS_DIR": "tls", "MOSHI_GATEWAY_TLS_SELF_SIGNED": "true"},
        ),
        (("--gradio-tunnel",), {"MOSHI_GATEWAY_GRADIO_TUNNEL": "true"}),
        (("--attached",), {"MOSHI_GATEWAY_HTTP_PORT": "0", "MOSHI_GATEWAY_PORT": "0"}),
    ],
)
def test_an_option_reaches_the_services(option: tuple[str, ...], expected: dict[str, str]) -> None:
    assert environment_of(*option).variables.items() >= expected.items()


def test_the_users_variables_reach_the_services_and_are_named() -> None:
    given = {
        "MOSHI_LM_CONTEXT": "50",
        "MOSHI_GATEWAY_PORT": "7",
        "MOSHI_LM_DEVICE": "cpu",
        "HOME": "/",
        "MOSHI_TOKEN": "x",
    }
    served = environment_of(environment=given)
    assert served.variables["MOSHI_LM_CONTEXT"] == "50"
    assert served.variables["MOSHI_GATEWAY_PORT"] == "7"
    assert (served.variables["MOSHI_LM_DEVICE"], served.variables["MOSHI_CODEC_DEVICE"]) == ("cpu", "best")
    assert not {"HOME", "MOSHI_TOKEN"} & set(served.variables)
    assert served.remarks == ("settings from the environment: MOSHI_GATEWAY_PORT, MOSHI_LM_CONTEXT, MOSHI_LM_DEVICE",)


def test_an_option_wins_over_a_variable_and_says_so() -> None:
    served = environment_of("--device", "cuda", environment={"MOSHI_LM_DEVICE": "cpu", "MOSHI_CODEC_DEVICE": "cuda"})
    assert served.variables["MOSHI_LM_DEVICE"] == "cuda"
    assert served.remarks == ("MOSHI_LM_DEVICE=cpu is not used: --device says cuda",)


def test_an_option_that_names_the_model_rules_out_variables_that_name_another() -> None:
    served = environment_of("--checkpoint", "here", environment={"MOSHI_LM_HF_REPO": "a/b"})
    assert "MOSHI_LM_HF_REPO" not in served.variables
    assert served.remarks == ("MOSHI_LM_HF_REPO=a/b is not used: --checkpoint says here",)


def test_where_the_workers_are_is_not_for_variables_to_say() -> None:
    served = environment_of(environment={"MOSHI_GATEWAY_LM_TARGETS": "elsewhere:1"})
    assert "MOSHI_GATEWAY_LM_TARGETS" not in served.variables
    assert served.remarks == ("MOSHI_GATEWAY_LM_TARGETS=elsewhere:1 is not used: serve starts workers of its own",)


def test_two_checkpoints_in_one_cluster_are_mentioned() -> None:
    served = environment_of(environment={"MOSHI_LM_CHECKPOINT": "a/b"})
    assert "codec and lm load different checkpoints: the demo model and a/b" in served.remarks


@pytest.mark.parametrize("command", [("--port", "65536"), ("--hf-repo", "a/b", "--checkpoint", "c")])
def test_what_cannot_be_meant_is_refused(command: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        environment_of(*command)
