from moshi_cluster.audio import frame


def test_a_frame_is_80_ms_in_every_unit():
    assert (frame.FRAME_MS, frame.FRAME_S, frame.FRAMES_PER_S) == (80, 0.08, 12.5)
    assert (frame.FRAME_SAMPLES, frame.MODEL_RATE_HZ) == (1_920, 24_000)
