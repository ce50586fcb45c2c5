"""Status of a gRPC call that failed, in words, whatever a proxy on the way has made of it."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from moshi_cluster.clients.telephony.errors import CallError, CallLost

_DETAILS_KEY = "grpc-status-details-bin"
_LOST = frozenset(("UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN"))  # the latter by proxies and libraries
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def call_error(error: grpc.aio.AioRpcError) -> CallError:
    """Status, sentence and hint when to try again; what the gateway said beside, if something has changed it since.

    CallLost for what may be resumed or called again.
    """
    shown = error.code().name
    told = _told(error)
    said = _NAMES.get(told.code, shown)
    changed = "" if said == shown else f"; something on the way changed the status, the gateway said {said}"
    hint = _retry_hint(told)
    kind = CallLost if hint or said in _LOST else CallError
    return kind(f"{shown}: {error.details()}{changed}{hint}")


def _told(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The status as the gateway wrote it into the trailers; an empty one where it is absent or cannot be read.

    grpc_status reads it too, but raises ValueError where it is not the call's.
    """
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status(code=error.code().value[0])


def _retry_hint(told: status_pb2.Status) -> str:
    retry = error_details_pb2.RetryInfo()
    for detail in told.details:
        try:
            if detail.Unpack(retry):
                return f" (try again in {retry.retry_delay.ToMilliseconds()} ms)"
        except DecodeError:
            continue
    return ""
