"""The contract in other languages: its names are free there, and their generators and compilers take it."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from moshi_cluster.v1 import call_control_pb2, codec_pb2, common_pb2, gateway_pb2, lm_pb2, trunk_pb2, worker_pb2
from tests.toolchains import installed, present, words_of

PROTOS = Path(__file__).parents[1] / "protos"
FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR
    for module in (call_control_pb2, codec_pb2, common_pb2, gateway_pb2, lm_pb2, trunk_pb2, worker_pb2)
)

CPP = """
    Clear CopyFrom MergeFrom New Swap InternalSwap UnsafeArenaSwap IsInitialized ByteSizeLong ByteSize GetCachedSize
    GetTypeName GetDescriptor GetReflection GetMetadata GetArena GetClassData CheckTypeAndMergeFrom CheckInitialized
    DebugString ShortDebugString Utf8DebugString PrintDebugString InitializationErrorString FindInitializationErrors
    DiscardUnknownFields SpaceUsed SpaceUsedLong SerializeToString SerializeAsString SerializeToArray ParseFromString
    ParseFromArray MergeFromString AppendToString InternalMetadata descriptor default_instance internal_default_instance
    unknown_fields mutable_unknown_fields
    """
JAVA = """
    Builder Class AllFields AllFieldsRaw CachedSize DefaultInstance DefaultInstanceForType Descriptor DescriptorForType
    InitializationErrorString ParserForType SerializedSize SerializedSizeAsMessageSet UnknownFields
    """
CSHARP = """
    Types Parser Descriptor Clone Equals GetHashCode GetType MemberwiseClone MergeFrom WriteTo CalculateSize ToString
    Finalize OnConstruction
    """
GO = "Reset String ProtoMessage ProtoReflect Descriptor Marshal Unmarshal ExtensionMap ExtensionRangeArray"
PYTHON = [*(name for name in dir(Message) if not name.startswith("_")), *keyword.kwlist]
RUST = "self Self super crate"
SWIFT = "type Type Protocol self Self hashValue description debugDescription isInitialized unknownFields"


@dataclass(frozen=True)
class Language:
    """What each generated message has already, and how the name of a field or oneof is written beside it."""

    spelling: Callable[[str], str]
    taken: frozenset[str]


def snake(name: str) -> str:
    """frame_index, as it is."""
    return name


def camel(name: str) -> str:
    """FrameIndex."""
    return "".join(word.capitalize() for word in name.split("_"))


def lower_camel(name: str) -> str:
    """frameIndex."""
    return camel(name)[0].lower() + camel(name)[1:]


LANGUAGES = {
    "C++": Language(snake, frozenset(CPP.split())),
    "Java": Language(camel, frozenset(JAVA.split())),
    "C#": Language(camel, frozenset(CSHARP.split())),
    "Go": Language(camel, frozenset(GO.split())),
    "Python": Language(snake, frozenset(PYTHON)),
    "Rust": Language(snake, frozenset(RUST.split())),
    "Swift": Language(lower_camel, frozenset(SWIFT.split())),
}


def taken_names(file: FileDescriptor, language: Language) -> list[str]:
    """The names of a file's types, fields and oneofs that mean something else in a language."""
    top = [f"{file.package}.{name}" for name in [*file.message_types_by_name, *file.enum_types_by_name]]
    inside = [name for message in file.message_types_by_name.values() for name in names_in(message, language)]
    return [name for name in [*top, *inside] if name.rpartition(".")[2] in language.taken]


def names_in(message: Descriptor, language: Language) -> Iterator[str]:
    """Nested types, fields and oneofs of a message and of those inside it, as a language writes them."""
    types = [item.name for item in [*message.nested_types, *message.enum_types]]
    members = [language.spelling(item.name) for item in [*message.fields, *message.oneofs]]
    yield from (f"{message.full_name}.{name}" for name in [*types, *members])
    for nested in message.nested_types:
        yield from names_in(nested, language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_name_is_taken_in_another_language(file: FileDescriptor, language: str) -> None:
    assert not taken_names(file, LANGUAGES[language])


def test_a_taken_name_is_found() -> None:
    clear, control = DescriptorProto(name="Clear"), DescriptorProto(name="Control")
    control.nested_type.append(clear)
    control.field.add(name="serialized_size", number=1, label=1, type=5)
    pool = DescriptorPool()
    pool.Add(FileDescriptorProto(name="x.proto", package="x", message_type=[control]))  # type: ignore[no-untyped-call]
    file = pool.FindFileByName("x.proto")  # type: ignore[no-untyped-call]
    assert taken_names(file, LANGUAGES["C++"]) == ["x.Control.Clear"]
    assert taken_names(file, LANGUAGES["Java"]) == ["x.Control.SerializedSize"]


def test_clear_is_on_the_wire_and_in_json_what_it_was_before_its_type_had_another_name() -> None:
    control = gateway_pb2.Control(clear=gateway_pb2.Control.ClearRequest())
    assert control.SerializeToString() == b"\x0a\x00"
    assert json_format.MessageToJson(control, indent=None) == '{"clear": {}}'


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_says_where_its_code_belongs(file: FileDescriptor) -> None:
    options, stem = file.GetOptions(), Path(file.name).stem
    assert options.go_package == "moshi_cluster/v1;moshiclusterv1"
    assert (options.java_package, options.java_multiple_files) == ("moshicluster.v1", True)
    assert options.java_outer_classname == f"{stem.title().replace('_', '')}Proto"
    assert options.csharp_namespace == "MoshiCluster.V1"
    assert (options.objc_class_prefix, options.php_namespace) == ("MSH", "MoshiCluster\\V1")


@pytest.mark.parametrize("language", ["cpp", "csharp", "java", "kotlin", "objc", "php", "pyi", "python", "ruby"])
def test_a_generator_takes_the_contract_without_a_word(language: str, tmp_path: Path) -> None:
    assert not generate(tmp_path, f"--{language}_out={tmp_path}")


@pytest.mark.parametrize(("plugin", "kind"), [("protoc-gen-go", "go"), ("protoc-gen-go-grpc", "go-grpc")])
def test_the_generators_for_go_take_the_contract(plugin: str, kind: str, tmp_path: Path) -> None:
    installed(plugin)
    assert not generate(tmp_path, f"--{kind}_out={tmp_path}")
    assert list((tmp_path / "moshi_cluster/v1").glob("gateway*.pb.go"))


def test_java_has_a_file_for_each_class(tmp_path: Path) -> None:
    generate(tmp_path, f"--java_out={tmp_path}")
    made = {path.stem for path in (tmp_path / "moshicluster/v1").iterdir()}
    assert made >= {"ConverseRequest", "Start", "Encoding", "GatewayProto", "CodecProto"}


def test_a_cpp_compiler_takes_the_contract(tmp_path: Path) -> None:
    compiler, plugin = installed("g++"), installed("grpc_cpp_plugin")
    present(Path("/usr/include/grpcpp/grpcpp.h"), "libgrpc++-dev")
    outputs = [f"--cpp_out={tmp_path}", f"--grpc_out={tmp_path}", f"--plugin=protoc-gen-grpc={plugin}"]
    generate(tmp_path, *outputs)
    # Headers hold every class; one file with all of them is read in two seconds, the sources in ten.
    every = tmp_path / "every.cc"
    every.write_text("".join(f'#include "{file.name.removesuffix(".proto")}.grpc.pb.h"\n' for file in FILES))
    assert not words_of(compiler, "-std=c++17", "-fsyntax-only", f"-I{tmp_path}", str(every))


def generate(target: Path, *outputs: str) -> str:
    """What the machine's own compiler of protos says, which is nothing when it is content."""
    protos = sorted(map(str, PROTOS.rglob("*.proto")))
    return words_of(installed("protoc"), f"-I{PROTOS}", *outputs, *protos)
