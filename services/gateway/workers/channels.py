"""Channels of a gateway to its workers: plain, or with certificates that both sides show."""

from __future__ import annotations

import grpc

from moshi_cluster.services.common.certificates import Pair, channel_credentials, mutual_tls
from moshi_cluster.services.common.mux.buffers import max_bundle_bytes
from moshi_cluster.services.common.reloaded import Reloaded
from moshi_cluster.services.common.rpc import channel_options
from moshi_cluster.services.gateway.settings import PREFIX

_MAX_MESSAGE_BYTES = max_bundle_bytes(64 * 1024)


class WorkerChannels:
    """Makes channels. A worker's certificate must hold the name of its service, codec or lm, whatever its address."""

    def __init__(self, folder: str = "") -> None:
        """folder: of the gateway's certificate; empty: nothing is encrypted. Raises SettingError."""
        self._pair: Reloaded[Pair] | None = mutual_tls(folder, f"{PREFIX}WORKERS_MTLS_DIR") if folder else None

    @property
    def pair(self) -> Pair | None:
        """That a channel made now would show; another one after the files have changed."""
        return self._pair.get() if self._pair is not None else None

    def open(self, address: str, service: str) -> grpc.aio.Channel:
        """A channel to host:port."""
        options = channel_options(_MAX_MESSAGE_BYTES)
        if (pair := self.pair) is None:
            return grpc.aio.insecure_channel(address, options=options)
        options = [*options, ("grpc.ssl_target_name_override", service)]
        return grpc.aio.secure_channel(address, channel_credentials(pair), options=options)


PLAIN = WorkerChannels()
