"""From microphone to loudspeaker through the three rpcs, greedy: what the original server answers, exactly.

Its server resets the codec after the first frame, and the LM does not use that frame's codes: the golden conversation
is that of a caller who starts to speak with the second frame.
"""

from __future__ import annotations

import numpy as np
import pytest

from moshi_cluster.v1 import codec_pb2_grpc, lm_pb2_grpc
from tests.services.golden_workers import (
    code_frames,
    golden_codec,
    golden_lm,
    golden_tensors,
    golden_texts,
    greedy_open,
    pcm_frames,
    samples_of,
    tokens_of,
    user_frames,
)
from tests.services.in_process import read, serving


@pytest.mark.parity
async def test_a_conversation_frame_by_frame_equals_the_original_servers(nothing_swallowed: None) -> None:
    golden = golden_tensors("pipeline_tiny/outputs")
    async with serving(golden_codec()) as codec_worker, serving(golden_lm()) as lm_worker:
        codec = codec_pb2_grpc.CodecStub(codec_worker.channel)
        encode, decode = codec.Encode(), codec.Decode()
        generate = lm_pb2_grpc.LmStub(lm_worker.channel).Generate()
        await generate.write(greedy_open())
        assert (await read(generate)).WhichOneof("message") == "opened"

        heard, said, played = [], [], []
        for index, pcm in enumerate(pcm_frames("user_a", first=1)):
            await encode.write(pcm)
            heard.append(list((await read(encode)).codes))
            frame = user_frames([heard[-1]])[0]
            frame.frame.frame_index = index
            await generate.write(frame)
            said.append(await read(generate))
            codes = code_frames([said[-1].frame.moshi_codes])[0]
            codes.frame_index = index
            await decode.write(codes)
            played.append(await read(decode))
        for call in (encode, generate, decode):
            await call.done_writing()

        assert heard == golden["server_user_codes"][1:].tolist()
        assert tokens_of(said) == golden["server_tokens"].tolist()
        assert [reply.frame.text_piece for reply in said] == golden_texts("server")
        np.testing.assert_allclose(samples_of(played), golden["server_pcm"].numpy(), atol=1e-4, rtol=0)
