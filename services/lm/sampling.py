"""Sampling parameters of a session, from and to the wire."""

from __future__ import annotations

from dataclasses import asdict

from moshi_cluster.models.sampling import Sampling, SamplingError
from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.v1 import common_pb2


def parse_sampling(asked: common_pb2.Sampling, checkpoint: Sampling) -> Sampling:
    """Parameters that a session asks for, and the checkpoint's where it is silent. Raises InvalidInput.

    The checkpoint's take the wire's way, whose floats have 32 bits: to name its values is the same as to name none.
    """
    if not asked.HasField("seed"):
        raise InvalidInput("open.sampling.seed", "required")
    merged = sampling_message(checkpoint)
    merged.MergeFrom(asked)
    try:
        return Sampling(**{field.name: value for field, value in merged.ListFields()})
    except SamplingError as error:
        raise InvalidInput(f"open.sampling.{error.name}", error.expected) from None


def sampling_message(sampling: Sampling) -> common_pb2.Sampling:
    """Every parameter in use, as the wire has it."""
    return common_pb2.Sampling(**asdict(sampling))
