"""Mimi's frame, the unit of time of everything here: 80 ms, 1920 samples at 24 kHz (arXiv 2410.00037, section 3.3).

Free of numpy, so that everything may import it. The models themselves read theirs from the checkpoint.
"""

MODEL_RATE_HZ = 24_000
FRAME_SAMPLES = 1_920
FRAME_MS = 1000 * FRAME_SAMPLES // MODEL_RATE_HZ
FRAME_S = FRAME_SAMPLES / MODEL_RATE_HZ
FRAMES_PER_S = MODEL_RATE_HZ / FRAME_SAMPLES
