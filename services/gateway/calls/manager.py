"""Call manager of a gateway: every call, whatever it came in over, from its session id to how it ended."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from moshi_cluster.services.common.deadlines import within
from moshi_cluster.services.common.errors import session_error
from moshi_cluster.services.common.session_id import SESSION_ID
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.admission.auth import TokenGate, token_file
from moshi_cluster.services.gateway.admission.capacity import Admission
from moshi_cluster.services.gateway.admission.loop_budget import LoopBudget
from moshi_cluster.services.gateway.admission.openings import Openings
from moshi_cluster.services.gateway.admission.queue import NotifyPosition
from moshi_cluster.services.gateway.admission.token_quotas import TokenQuotas
from moshi_cluster.services.gateway.calls.call import Call
from moshi_cluster.services.gateway.calls.conversation import Conversation
from moshi_cluster.services.gateway.calls.conversations import Conversations, until_wanted
from moshi_cluster.services.gateway.calls.events import (
    CallEvent,
    Checkpoints,
    Ended,
    EventKind,
    Outgoing,
    Resume,
    Started,
)
from moshi_cluster.services.gateway.calls.history import History
from moshi_cluster.services.gateway.calls.live_calls import NO_COMMANDS, FarEnd, LiveCall, LiveCalls
from moshi_cluster.services.gateway.calls.record import CallRecord
from moshi_cluster.services.gateway.calls.reservations import Reservation, Reservations
from moshi_cluster.services.gateway.calls.spec import CallSpec
from moshi_cluster.services.gateway.metrics import GatewayMetrics, exemplar_of
from moshi_cluster.services.gateway.settings import PREFIX, GatewaySettings
from moshi_cluster.services.gateway.store.session_store import SessionStore
from moshi_cluster.services.gateway.workers.fleet import WorkerFleet
from moshi_cluster.services.gateway.workers.streams import CallStreams
from moshi_cluster.v1 import common_pb2

if TYPE_CHECKING:
    from moshi_cluster.services.gateway.calls.traces import CallTraces

_CUT_BEFORE_END_S = 2.0

_log = logging.getLogger(__name__)

Read = Callable[[Call], Coroutine[Any, Any, None]]  # feeds a call until its caller hangs up
Send = Callable[[Outgoing], Awaitable[None]]


class CallManager:
    """What the transports share. One call is `session`, in it `reserve`, in it `converse`."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        """Raises SettingError when the tokens or the session store's keys cannot be read."""
        self.calls = LiveCalls()
        """Calls that are up."""
        self.loop_budget = LoopBudget()
        """Of what callers send."""
        self.openings = Openings(settings.max_openings_per_s, settings.max_sessions_per_client)
        """Of every client."""
        self.fleet = WorkerFleet(settings, metrics)
        self._settings = settings
        self.metrics = metrics
        store = SessionStore(settings, metrics) if settings.session_store else None
        self.conversations = Conversations(settings, metrics, self.fleet.can_go_on, store)
        """That may outlive their connection."""
        self._tokens = TokenGate(token_file(settings.token_file, f"{PREFIX}TOKEN_FILE"), metrics.wrong_token)
        self._token_quotas = TokenQuotas()
        self._traces = _traces(settings)
        self._admission = Admission(settings, metrics)
        self._reservations = Reservations(settings, metrics, self._admission, self.fleet)
        metrics.free_slots.set_function(lambda: self.free_slots)
        self._cut_timer: asyncio.TimerHandle | None = None

    # --- the life of the process

    @property
    def failed(self) -> asyncio.Future[BaseException]:
        """Resolves when no worker could ever be found again."""
        return self.fleet.failed

    async def start(self) -> None:
        """Returns once a worker of each service takes sessions."""
        self.conversations.start()
        await self.fleet.start()

    @property
    def live_sessions(self) -> int:
        """Calls that are not over yet, those that are about to begin included."""
        return self._admission.live

    @property
    def takes_calls(self) -> bool:
        """Whether the workers are within reach and the gateway is not about to stop; it may be full."""
        return not self._admission.is_draining and self.fleet.is_reachable

    @property
    def free_slots(self) -> int:
        """Calls that could begin now."""
        return min(self._admission.free_slots, self.fleet.free_slots) if self.takes_calls else 0

    def drain(self, grace_s: float) -> None:
        """Refuses new calls and tells the live ones."""
        self._admission.drain()
        # What is left is cut while there is still time to say so.
        cut_in_s = max(0.0, grace_s - _CUT_BEFORE_END_S)
        for live in self.calls:
            live.call.go_away("the gateway", cut_in_s)
        self._stop_timer()
        self._cut_timer = asyncio.get_running_loop().call_later(cut_in_s, self._cut_calls)

    def _cut_calls(self) -> None:
        for live in self.calls:
            live.call.cut()

    async def until_idle(self) -> None:
        """Returns once no call is left, and another gateway can go on with those that were lost."""
        await self._admission.until_idle()
        await self.conversations.until_stored()

    async def stop(self) -> None:
        """Stores what is left, and lets go of the workers."""
        self._stop_timer()
        await self.conversations.stop()
        if self._traces is not None:
            await self._traces.stop()
        await self.fleet.stop()

    def _stop_timer(self) -> None:
        if self._cut_timer is not None:
            self._cut_timer.cancel()

    # --- a call

    @asynccontextmanager
    async def session(
        self, transport: str, cancelled_as: Callable[[], str] = lambda: "CANCELLED"
    ) -> AsyncIterator[CallRecord]:
        """A new call's record; counts and logs how it ends, one that is cancelled as `cancelled_as` says."""
        record, outcome = CallRecord(transport), "INTERNAL"
        SESSION_ID.set(record.session_id)  # for this task and those that it starts
        try:
            yield record
            outcome = "ok"
        except asyncio.CancelledError:
            outcome = cancelled_as()
            raise
        except Exception as error:
            if (known := session_error(error)) is not None:
                outcome = known.status
            raise
        finally:
            record.over(outcome, self.metrics, self._traces)

    async def authenticate(self, record: CallRecord, token: str | None, client: str) -> None:
        """Raises Unauthenticated unless the token is accepted, or nobody is asked for one; OverQuota: see TokenGate and
        TokenQuotas. The record has the token's name and its place from now on.
        """
        if self._settings.audit_addresses:
            record.address = client
        if (grant := await self._tokens.require(token, client)) is not None:
            record.token_name = grant.name
            await self._token_quotas.enter(grant, record.held)

    def reserve(
        self, client: str, spec: CallSpec, history: History | None = None
    ) -> AbstractAsyncContextManager[Reservation]:
        """What a call needs, or a refusal at once: see Reservations."""
        return self._reservations.reserve(client, spec, history)

    def reserve_in_queue(
        self, client: str, spec: CallSpec, notify: NotifyPosition, history: History | None = None
    ) -> AbstractAsyncContextManager[Reservation]:
        """What a call needs, for a client who waits while every slot is in use: see Reservations."""
        return self._reservations.reserve_in_queue(client, spec, notify, history)

    async def converse(
        self,
        record: CallRecord,
        reservation: Reservation,
        read: Read,
        send: Send,
        called_s: float | None = None,
        conversation: Conversation | None = None,
        far_end: FarEnd = NO_COMMANDS,
    ) -> None:
        """A call from `Started` to `Ended`. Raises SessionError, alone or in a group, and whatever read and send do.

        read: must call `hang_up` at the end; cancelled when the call ends first. send: one item at a time. called_s:
        since when the caller may speak; since they asked for the reservation where absent. conversation: that the call
        is, inside its `resumable`; None: it cannot be resumed. far_end: the commands of what carries it.
        """
        spec, session_id = reservation.spec, record.session_id
        said_since_s = reservation.asked_s if called_s is None else called_s
        call = self._call(session_id, reservation, said_since_s)
        setup_s = time.monotonic() - reservation.asked_s
        self.metrics.setup_s.observe(setup_s, exemplar_of(session_id))
        _log.info("call up session=%s label=%r", session_id, spec.label)
        try:
            resume = self._begin(conversation, reservation.streams)
            with self.calls.up(LiveCall(record, spec.label, call, far_end)):
                await self._tell_started(send, _started(session_id, reservation, setup_s, resume), reservation.streams)
                record.up(setup_s)
                await _carry(call, read, send, conversation)
        finally:
            record.carried(call)
            if call.cut_short and conversation is not None:
                conversation.cut_short = True
        await self._in_time(send(Ended(call.cut_short, call.counters)))

    def _call(self, session_id: str, reservation: Reservation, said_since_s: float) -> Call:
        streams, history, elsewhere = reservation.streams, reservation.history, self.fleet.elsewhere
        return Call(
            session_id, reservation.spec, self._settings, self.metrics, streams, elsewhere, history, said_since_s
        )

    def _begin(self, conversation: Conversation | None, streams: CallStreams | None) -> Resume | None:
        if conversation is None or streams is None:
            return None
        goes_on, lost_frames = conversation.earlier is not None, conversation.lost_frames
        self.conversations.begin(conversation, streams.lm.worker.context_frames)
        if not conversation.has_begun:
            return None
        remembered_frames = conversation.history.total_frames if goes_on else None
        return Resume(conversation.key, self.conversations.keep_s, remembered_frames, lost_frames)

    async def _tell_started(self, send: Send, started: Started, streams: CallStreams | None) -> None:
        await self._in_time(send(started))
        if streams is not None and streams.lm.ignored_prompts:
            await self._in_time(send(CallEvent(EventKind.PROMPTS_IGNORED, 0, detail="the model takes no prompts")))

    async def _in_time(self, sending: Awaitable[None]) -> None:
        """For what no limit of the call watches: a client that reads nothing keeps no slot."""
        await within(sending, self._settings.flush_timeout_s, "the client does not read")


async def _carry(call: Call, read: Read, send: Send, conversation: Conversation | None) -> None:
    async with asyncio.TaskGroup() as tasks, aclosing(call.outgoing()) as outgoing:
        beside = [tasks.create_task(read(call))]
        if conversation is not None:
            beside.append(tasks.create_task(until_wanted(conversation)))
        tasks.create_task(call.run())
        async for item in outgoing:
            await send(item)
        for task in beside:
            task.cancel()


def _started(session_id: str, reservation: Reservation, setup_s: float, resume: Resume | None) -> Started:
    if (streams := reservation.streams) is None:
        return Started(session_id, reservation.spec, setup_s, common_pb2.Sampling(), Checkpoints())
    checkpoints = Checkpoints(streams.encode.checkpoint, streams.lm.checkpoint)
    return Started(session_id, reservation.spec, setup_s, streams.lm.sampling, checkpoints, resume)


def _traces(settings: GatewaySettings) -> CallTraces | None:
    """Raises SettingError where the packages for it are not there."""
    if not settings.otlp_endpoint:
        return None
    if importlib.util.find_spec("opentelemetry") is None:
        raise SettingError(f"{PREFIX}OTLP_ENDPOINT: needs the packages of the extra `tracing`")
    from moshi_cluster.services.gateway.calls.traces import CallTraces  # brings OpenTelemetry, which nobody else needs

    return CallTraces(settings.otlp_endpoint, settings.instance_name)
