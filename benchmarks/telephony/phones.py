"""Phones by their wire: a line for each simulator, and what the gateway needs for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.services.gateway.api.telephony.simulators.asterisk import AsteriskPhone, AudioSocketPhone
from tests.services.gateway.api.telephony.simulators.audiohook import GenesysPhone
from tests.services.gateway.api.telephony.simulators.dialects import (
    ExotelPhone,
    FonosterPhone,
    PlivoPhone,
    TelnyxPhone,
)
from tests.services.gateway.api.telephony.simulators.freeswitch import (
    JambonzPhone,
    ModAudioForkPhone,
    ModAudioStreamPhone,
)
from tests.services.gateway.api.telephony.simulators.media_streams import TwilioPhone
from tests.services.gateway.api.telephony.simulators.phone import Phone

PHONES: Mapping[str, Callable[[], Phone]] = {
    "twilio": TwilioPhone,
    "telnyx": TelnyxPhone,
    "exotel": ExotelPhone,
    "plivo": PlivoPhone,
    "fonoster": FonosterPhone,
    "jambonz": JambonzPhone,
    "mod_audio_fork": ModAudioForkPhone,
    "mod_audio_stream": ModAudioStreamPhone,
    "genesys": GenesysPhone,
    "asterisk": AsteriskPhone,
    "audiosocket": AudioSocketPhone,
}
"""Every wire that the setting `telephony` knows is here: a test holds it."""

PORTS: Mapping[str, str] = {"audiosocket": "audiosocket_port"}
"""Setting of its port, for each wire over TCP."""
