"""What an operator reads about an engine."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from moshi_cluster.services.common.worker.device_stats import DeviceStats, no_device
from moshi_cluster.services.common.worker.metrics import EngineMetrics
from moshi_cluster.services.common.worker.program import PrepareStats, StepStats
from moshi_cluster.services.common.worker.slots import SlotTable


def exposition(registry: CollectorRegistry) -> list[str]:
    return generate_latest(registry).decode().splitlines()


def test_a_step_is_counted_for_the_batch_and_for_every_frame_in_it() -> None:
    registry = CollectorRegistry()
    EngineMetrics("codec", registry).observe(StepStats("encode", 0.004, [0.001, 0.003], deadline_misses=1))
    lines = exposition(registry)
    assert 'moshi_codec_step_seconds_count{program="encode"} 1.0' in lines
    assert 'moshi_codec_step_seconds_sum{program="encode"} 0.004' in lines
    assert 'moshi_codec_step_seconds_bucket{le="0.004",program="encode"} 1.0' in lines
    assert 'moshi_codec_queue_seconds_count{program="encode"} 2.0' in lines
    assert 'moshi_codec_queue_seconds_sum{program="encode"} 0.004' in lines
    assert 'moshi_codec_batch_size_sum{program="encode"} 2.0' in lines
    assert 'moshi_codec_deadline_misses_total{program="encode"} 1.0' in lines


def test_opening_work_has_a_histogram_of_its_own() -> None:
    registry = CollectorRegistry()
    EngineMetrics("lm", registry).observe(PrepareStats("lm", 0.02))
    lines = exposition(registry)
    assert 'moshi_lm_prepare_seconds_sum{program="lm"} 0.02' in lines
    assert 'moshi_lm_step_seconds_count{program="lm"} 0.0' in lines


def test_slots_and_refusals_are_shown() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics("lm", registry)
    table = SlotTable("lm", 4)
    table.acquire()
    metrics.observe_slots([table])
    metrics.rejected("lm")
    lines = exposition(registry)
    assert 'moshi_lm_slots{program="lm"} 4.0' in lines
    assert 'moshi_lm_slots_used{program="lm"} 1.0' in lines
    assert 'moshi_lm_rejections_total{program="lm"} 1.0' in lines


def test_what_is_loaded_is_said_for_as_long_as_it_is() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics("codec", registry)
    metrics.loaded("0123456789abcdef", no_device)
    assert 'moshi_codec_checkpoint_info{checkpoint="0123456789abcdef"} 1.0' in exposition(registry)
    metrics.unloaded()
    assert not any(line.startswith("moshi_codec_checkpoint_info{") for line in exposition(registry))


def test_a_card_is_shown_and_a_cpu_is_not() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics("lm", registry)
    metrics.loaded("0123456789abcdef", no_device)
    assert not any("cuda" in line for line in exposition(registry))
    metrics.loaded("0123456789abcdef", lambda: DeviceStats("cuda:0", "a card", 80, 40, 30, None))
    lines = exposition(registry)
    assert 'moshi_lm_gpu_memory_used_bytes{device="cuda:0",name="a card"} 40.0' in lines
    assert not any(line.startswith("moshi_lm_gpu_utilisation_ratio{") for line in lines)
