"""Connection of a telephone system: what its wire reads to the call, what leaves the call to its wire."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from moshi_cluster.services.common.deadlines import within
from moshi_cluster.services.common.errors import CallerLost, SessionError
from moshi_cluster.services.gateway.admission.loop_budget import CallBudget, LoopShare
from moshi_cluster.services.gateway.admission.rate_limits import message_quota
from moshi_cluster.services.gateway.api.acknowledgements import Acknowledgements
from moshi_cluster.services.gateway.api.telephony.incoming_packets import IncomingPackets
from moshi_cluster.services.gateway.api.telephony.links import Link, Ping
from moshi_cluster.services.gateway.api.telephony.wire import (
    Answer,
    Control,
    Incoming,
    Key,
    Message,
    Opening,
    Played,
    Voice,
    Wire,
)
from moshi_cluster.services.gateway.audio.framing import ReplyPacket
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.events import CallEvent, Outgoing, Started
from moshi_cluster.services.gateway.calls.live_calls import FarEnd
from moshi_cluster.services.gateway.settings import GatewaySettings

_MOST_ANSWERS = 8
_AGREE_S = 2.0
_SPEECH_FRAMES = 3  # a cough is shorter


class WireConnection(FarEnd):
    """One connection, of any wire over any link."""

    def __init__(self, wire: Wire, link: Link, settings: GatewaySettings, budget: CallBudget) -> None:
        self.packets = Counter[str]()
        """Of voice, by kind, once it is over."""
        self._wire = wire
        self._link = link
        self._settings = settings
        self._quota = message_quota(settings.max_messages_per_s, time.monotonic())
        self._share = LoopShare(budget)
        self._early: Sequence[Incoming] = ()  # behind the opening in the same message
        self._answers: asyncio.Queue[Answer | Ping] = asyncio.Queue(_MOST_ANSWERS)
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._acknowledgements: Acknowledgements | None = None
        self._rate_hz = 0
        self._is_speaking = False
        self._is_ended_here = False

    # --- from the far end

    async def opening(self) -> Opening:
        """Reads until a call begins. Raises CallerLost when none does, InvalidInput, OverQuota, LimitReached."""
        opening = await within(self._read_opening(), self._settings.open_timeout_s, "the connection began no call")
        self._share.pause()  # until the call is up, and `listen` begins
        return opening

    async def listen(self, call: Call, opening: Opening) -> None:
        """Feeds the call until the far end says that it is over. Raises CallerLost when the connection goes before,
        InvalidInput, OverQuota, LimitReached.
        """
        packets = IncomingPackets(call, opening.input_format, self._settings.jitter_allowance_ms)
        answering = asyncio.create_task(self._answer())
        try:
            await self._feed(call, packets)
            packets.finish()
        except asyncio.CancelledError:
            self._is_ended_here = True
            raise
        finally:
            self.packets.update(asdict(packets.close()), left_out=self._wire.left_out_packets)
            if self._acknowledgements is not None and not self._is_ended_here:
                self._acknowledgements.close()
            answering.cancel()
            await asyncio.wait((answering,))
        call.hang_up()

    async def until_played(self) -> None:
        """Waits a little, when the call ended here, until the far end has played what it holds, where it tells that: it
        would be lost with the connection.
        """
        acknowledgements = self._acknowledgements
        if acknowledgements is None or not self._is_ended_here or not acknowledgements.on_its_way_samples:
            return
        with contextlib.suppress(SessionError, TimeoutError):
            async with asyncio.timeout(_AGREE_S):
                await self._send(self._wire.mark(acknowledgements.ping().hex()))
                while acknowledgements.on_its_way_samples and (items := await self._next()) is not None:
                    for item in items:
                        if item is Control.END:
                            return
                        if isinstance(item, Played):
                            self._played(item.mark)

    async def until_agreed(self, asked: Sequence[Message]) -> None:
        """Asks the far end to close, and waits a little until it does, or is gone."""
        with contextlib.suppress(SessionError, TimeoutError):
            async with asyncio.timeout(_AGREE_S):
                await self._send(asked)
                while (items := await self._next()) is not None:
                    for item in items:
                        if item is Control.END:
                            return
                        if isinstance(item, Answer):
                            await self._link.send(item.write())

    async def _read_opening(self) -> Opening:
        while (items := await self._next()) is not None:
            for place, item in enumerate(items):
                if isinstance(item, Opening):
                    self._early = items[place + 1 :]
                    return item
                if isinstance(item, Answer):
                    await self._share.aside(self._link.send(item.write()))
                elif item is Control.END:
                    raise CallerLost("the call was over before it began")
        raise CallerLost("the connection was over before a call began")

    async def _feed(self, call: Call, packets: IncomingPackets) -> None:
        """Returns once the far end says that the call is over, or goodbye."""
        items: Sequence[Incoming] | None = self._early
        self._share.begin()
        while items is not None:
            for item in items:
                if item is Control.END:
                    return
                await self._take(item, call, packets)
            await self._share.give_way()
            items = await self._next()
        if not self._link.said_goodbye:
            raise CallerLost("the connection is gone")

    async def _next(self) -> Sequence[Incoming] | None:
        """What the next message says; None once there are no more."""
        message = await self._link.receive()
        if message is None:
            return None
        self._share.begin()
        self._quota.take(time.monotonic())
        if isinstance(message, Ping):
            self._answer_soon(message)
            return ()
        return self._wire.parse(message)

    async def _take(self, item: Incoming, call: Call, packets: IncomingPackets) -> None:
        if isinstance(item, Voice):
            packets.take(item)
            self._barge_in(call)
            await self._share.aside(call.until_room())
            return
        call.heard()
        if isinstance(item, Key):
            call.digit(item.digit)
        elif isinstance(item, Played):
            self._played(item.mark)
        elif isinstance(item, Answer):
            self._answer_soon(item)
        elif isinstance(item, Control):
            self._control(item, call)

    def _barge_in(self, call: Call) -> None:
        """Who begins to speak hears no more of what the far end has not played yet, if that is much.

        Moshi falls silent by itself; how much is still to be heard then is what waits there.
        """
        was_speaking, self._is_speaking = self._is_speaking, call.speech_frames >= _SPEECH_FRAMES
        if self._is_speaking and not was_speaking and self._waiting_ms > self._settings.telephony_barge_in_ms:
            call.clear()

    @property
    def _waiting_ms(self) -> float:
        """Of Moshi's voice at the far end, as far as its marks tell."""
        acknowledgements = self._acknowledgements
        return 0.0 if acknowledgements is None else 1000 * acknowledgements.on_its_way_samples / self._rate_hz

    def _control(self, control: Control, call: Call) -> None:
        if control is Control.UNKNOWN:
            self.packets["unknown"] += 1
        elif control is Control.HOLD:
            self._may_send.clear()
        elif control is Control.GO_ON:
            self._may_send.set()
        elif control is Control.PAUSE:
            call.pause()
        elif control is Control.RESUME:
            call.resume()
        elif control is Control.CLEAR:
            call.clear()

    def _played(self, mark: str) -> None:
        with contextlib.suppress(ValueError):  # a mark of somebody else
            if self._acknowledgements is not None:
                self._acknowledgements.pong(bytes.fromhex(mark))

    def _answer_soon(self, answer: Answer | Ping) -> None:
        """Answers what was received; a far end that reads no answers gets few."""
        with contextlib.suppress(asyncio.QueueFull):
            self._answers.put_nowait(answer)

    async def _answer(self) -> None:
        """Apart from reading: a far end that reads nothing is still heard."""
        while True:
            answer = await self._answers.get()
            await self._link.send(answer.write() if isinstance(answer, Answer) else answer)

    # --- to the far end

    async def send(self, item: Outgoing) -> None:
        """Sends what leaves the call; waits while the far end holds it back, or has too much of it already."""
        if isinstance(item, ReplyPacket):
            await self._send_voice(item)
        elif isinstance(item, Started):
            self._rate_hz = item.spec.output_format.rate_hz
            self._acknowledgements = Acknowledgements(self._rate_hz, item.spec.on_its_way_ms / 1000)
            await self._send(self._wire.started(item))
        elif isinstance(item, CallEvent):
            await self._send(self._wire.event(item))

    async def transfer(self, to: str) -> None:
        """Sends the wire's command. Raises Unsupported, InvalidInput."""
        await self._send(self._wire.transfer(to))

    async def send_digits(self, digits: str) -> None:
        """Sends the wire's command. Raises Unsupported, InvalidInput."""
        await self._send(self._wire.send_digits(digits))

    async def _send_voice(self, packet: ReplyPacket) -> None:
        assert self._acknowledgements is not None, "not started"
        await self._may_send.wait()  # ends with the call: its limits watch over what leaves it
        await self._acknowledgements.until_room()
        await self._send(self._wire.audio(packet))
        self.packets["sent"] += 1
        if (mark := self._acknowledgements.sent(packet.samples)) is not None:
            await self._send(self._wire.mark(mark.hex()))

    async def _send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            await self._link.send(message)
