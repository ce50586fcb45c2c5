"""What tools learn of a service from itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection_pb2

from moshi_cluster.services.common import reflection
from moshi_cluster.v1 import call_control_pb2, codec_pb2, common_pb2, gateway_pb2, lm_pb2, trunk_pb2, worker_pb2
from tests.services.in_process import read_all

OURS = (gateway_pb2, call_control_pb2, codec_pb2, lm_pb2, worker_pb2, trunk_pb2, common_pb2)
SERVICES = [name.full_name for module in OURS for name in module.DESCRIPTOR.services_by_name.values()]
EACH_VERSION = pytest.mark.parametrize("version", [reflection.V1, reflection.V1ALPHA])


@pytest_asyncio.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """To a server that has reflection and nothing else."""
    server = grpc.aio.server()
    reflection.enable((*SERVICES, health.SERVICE_NAME), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as to_it:
        yield to_it
    await server.stop(None)


async def ask(channel: grpc.aio.Channel, version: str, *requests: dict[str, Any]) -> list[Any]:
    method = channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return await read_all(method(iter([reflection_pb2.ServerReflectionRequest(**request) for request in requests])))


def file_of(reply: Any) -> str:
    """The name of the file that was answered, before its imports; fails with the error where there is none."""
    assert reply.WhichOneof("message_response") == "file_descriptor_response", reply
    file, *_imported = reply.file_descriptor_response.file_descriptor_proto
    return str(descriptor_pb2.FileDescriptorProto.FromString(file).name)


def symbols(file: FileDescriptor) -> Iterator[str]:
    """Everything in a file that has a full name."""
    for service in file.services_by_name.values():
        yield service.full_name
        yield from (method.full_name for method in service.methods)
    for message in file.message_types_by_name.values():
        yield from _symbols_of(message)
    for enum in file.enum_types_by_name.values():
        yield from _values_of(enum)


def _symbols_of(message: Descriptor) -> Iterator[str]:
    yield message.full_name
    yield from (field.full_name for field in message.fields)
    yield from (oneof.full_name for oneof in message.oneofs)
    for nested in message.nested_types:
        yield from _symbols_of(nested)
    for enum in message.enum_types:
        yield from _values_of(enum)


def _values_of(enum: EnumDescriptor) -> Iterator[str]:
    """Protobuf names the values as the enum's siblings, grpcurl as its children."""
    yield enum.full_name
    for scope in (enum.full_name.rpartition(".")[0], enum.full_name):
        yield from (f"{scope}.{value.name}" for value in enum.values)


@EACH_VERSION
async def test_every_symbol_of_the_contract_leads_to_its_file(channel: grpc.aio.Channel, version: str) -> None:
    wanted = [(name, module.DESCRIPTOR.name) for module in OURS for name in symbols(module.DESCRIPTOR)]
    assert "moshi_cluster.v1.Gateway.Converse" in dict(wanted)
    replies = await ask(channel, version, *({"file_containing_symbol": name} for name, _ in wanted))
    assert [file_of(reply) for reply in replies] == [file for _, file in wanted]


@EACH_VERSION
@pytest.mark.parametrize(
    "symbol",
    [
        *(f"moshi_cluster.v1.{name}" for name in ("Gateway.Nothing", "Start.nothing", "Encoding.NOTHING", "Nothing")),
        *("moshi_cluster.v1", "Gateway", ".", ""),
    ],
)
async def test_a_symbol_that_is_not_there_is_not_found(channel: grpc.aio.Channel, version: str, symbol: str) -> None:
    (reply,) = await ask(channel, version, {"file_containing_symbol": symbol})
    assert reply.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@EACH_VERSION
async def test_every_listed_service_can_be_described(channel: grpc.aio.Channel, version: str) -> None:
    (listed,) = await ask(channel, version, {"list_services": ""})
    names = [service.name for service in listed.list_services_response.service]
    assert {*SERVICES, health.SERVICE_NAME, reflection.V1, reflection.V1ALPHA} == set(names)
    replies = await ask(channel, version, *({"file_containing_symbol": name} for name in names))
    files = [file_of(reply) for reply in replies]
    by_name = await ask(channel, version, *({"file_by_filename": file} for file in files))
    assert [file_of(reply) for reply in by_name] == files
