"""Fuzzer of telephone systems' wires, `python -m benchmarks.fuzz.telephony`: each simulator, half of it spoiled.

Starts a cluster and makes loopback calls over each wire until it was sent so many messages. Exit status 1 when a call
got no end in time, when the gateway's own code failed, or when it keeps a call or does not serve afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Sequence

import aiohttp
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.fuzz.spoiler import Spoiler
from benchmarks.telephony.phones import PHONES, PORTS
from benchmarks.telephony.run import environment, gateway_of
from moshi_cluster.cluster.latency_table import scrape
from moshi_cluster.cluster.local_cluster import LocalCluster
from moshi_cluster.cluster.running_cluster import exit_code, running_cluster
from tests.services.gateway.api.telephony.simulators.phone import Gateway, Phone

_MOST_PACKETS = 40  # of a call
_END_S = 60.0
_FREE_S = 90.0
_FAULTS = ("INTERNAL", "UNKNOWN")


async def fuzz_wire(wire: str, gateway: Gateway, messages: int, seed: int, callers: int) -> tuple[Spoiler, list[str]]:
    """Calls over one wire until so many messages were sent; what went wrong."""
    spoiler, random, failures = Spoiler(seed, has_texts=wire not in PORTS), np.random.default_rng(seed), list[str]()

    async def caller() -> None:
        while spoiler.messages < messages:
            phone = PHONES[wire]()
            phone.is_strict = False
            try:
                async with asyncio.timeout(_END_S):
                    await _call(phone, gateway, spoiler, random)
            except TimeoutError:
                failures.append(f"{wire}: no end within {_END_S:g} s")

    await asyncio.gather(*(caller() for _ in range(callers)))
    return spoiler, failures


async def _call(phone: Phone, gateway: Gateway, spoiler: Spoiler, random: np.random.Generator) -> None:
    """A call of random length; half of them begin well, so that the fuzz reaches what lies behind."""
    if random.random() < 0.5:
        phone.spoil = spoiler
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        await phone.dial(gateway, {"loopback": "true", "label": "fuzz"})
        try:
            phone.spoil = spoiler
            for _ in range(random.integers(_MOST_PACKETS)):
                if phone.over.is_set():
                    break
                if random.random() < 0.1:
                    await phone.press("5")
                await phone.say(random.uniform(-1, 1, phone.packet_samples).astype(np.float32))
            if random.random() < 0.7:
                await phone.hang_up()
        finally:
            await phone.close()


def _outcomes(cluster: LocalCluster) -> tuple[Counter[tuple[str, str]], float]:
    """Ends of calls by transport and outcome, and calls that are up."""
    ends, active = Counter[tuple[str, str]](), 0.0
    for family in text_string_to_metric_families(scrape(cluster.metrics_url("gateway-0"))):
        for sample in family.samples:
            if sample.name == "moshi_gateway_sessions_total":
                ends[sample.labels["transport"], sample.labels["outcome"]] += int(sample.value)
            elif sample.name == "moshi_gateway_calls_active":
                active = sample.value
    return ends, active


def _until_free(cluster: LocalCluster) -> float:
    """Calls that are still up when all should be over."""
    end_s = time.monotonic() + _FREE_S
    while (active := _outcomes(cluster)[1]) and time.monotonic() < end_s:
        time.sleep(1.0)
    return active


def _run(wires: Sequence[str], messages: int, seed: int, callers: int) -> int:
    variables, failures = environment(wires), list[str]()
    with running_cluster(None, environment={**variables, "MOSHI_GATEWAY_MAX_OPENINGS_PER_S": "1000"}) as cluster:
        for wire in wires:
            start_s = time.monotonic()
            spoiler, failed = asyncio.run(fuzz_wire(wire, gateway_of(cluster, variables), messages, seed, callers))
            failures += failed
            ends = {end: count for (transport, end), count in _outcomes(cluster)[0].items() if transport == wire}
            print(
                f"{wire}: {spoiler.messages} messages, {time.monotonic() - start_s:.0f} s, {+Counter(ends)}", flush=True
            )
            failures += [f"{wire}: {count} ended as {end}" for end, count in ends.items() if end in _FAULTS and count]
        if active := _until_free(cluster):
            failures.append(f"{active:.0f} calls are still up")
    for failure in failures[:20]:
        print(f"failure: {failure}", file=sys.stderr)
    return 1 if failures else 0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wires", nargs="+", default=list(PHONES), choices=list(PHONES), help="all if absent")
    parser.add_argument("--messages", type=int, default=20_000, help="for each wire")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--callers", type=int, default=6, help="calls at a time")
    given = parser.parse_args()
    return exit_code(lambda: _run(given.wires, given.messages, given.seed, given.callers))


if __name__ == "__main__":
    sys.exit(main())
