"""gRPC server reflection: the contract for tools that have no protos, under both of its names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

V1ALPHA: str = reflection.SERVICE_NAME
V1 = "grpc.reflection.v1.ServerReflection"


def enable(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Adds reflection of the named services, and of itself, to a server.

    Offered as v1, which tools ask for first, and as v1alpha, the only one that older tools know.
    """
    servicer = reflection.aio.ReflectionServicer((*services, V1, V1ALPHA), pool=SymbolPool())
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    _describe_v1()
    # Messages of both are the same on the wire; grpcio-reflection has no code for v1.
    info = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": info}),))


class SymbolPool:
    """Descriptor pool of this process that knows the file of a method, too.

    Protobuf's own finds the file of everything else (grpc/grpc issue 34743); ghz asks for methods only.
    """

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        """Every other look-up is protobuf's."""
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """The file of a message, enum, enum value, field, oneof, service or method. Raises KeyError."""
        for find in (self._pool.FindFileContainingSymbol, self._file_of_method, self._file_of_value):
            with suppress(KeyError):
                file: FileDescriptor = find(symbol)
                return file
        raise KeyError(symbol)

    def _file_of_method(self, symbol: str) -> FileDescriptor:
        file: FileDescriptor = self._pool.FindMethodByName(symbol).containing_service.file
        return file

    def _file_of_value(self, symbol: str) -> FileDescriptor:
        """Protobuf has an enum's values beside it; grpcurl has them below."""
        enum, _, value = symbol.rpartition(".")
        file: FileDescriptor = self._pool.FindEnumTypeByName(enum).values_by_name[value].type.file
        return file


def _describe_v1() -> None:
    """Adds the file of v1 to the pool; again it changes nothing."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    text = text_format.MessageToString(file).replace("v1alpha", "v1")
    file = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
