"""Client of a gateway for telephony systems: a call over gRPC, a playback buffer, access (docs/clients.md)."""

from moshi_cluster.clients.telephony.access import Access
from moshi_cluster.clients.telephony.call import Call, CallEvent, Lost
from moshi_cluster.clients.telephony.errors import BadInput, CallError, CallLost
from moshi_cluster.clients.telephony.playback import PlaybackBuffer

__all__ = ["Access", "BadInput", "Call", "CallError", "CallEvent", "CallLost", "Lost", "PlaybackBuffer"]
