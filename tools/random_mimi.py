"""A randomly initialised Mimi in the published layout, for a Mimi configuration.

The gains make speech of normal loudness choose many different codes, and any codes decode to audible noise well below
full scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from moshi_cluster.tools.random_tensors import RandomTensors

_INPUT_GAIN = 15.0  # speech has a standard deviation of about 0.07, the layers behind expect 1
_OUTPUT_GAIN = 0.08  # and the other way round
_BIAS_STD = 0.1
_CENTROID_STD = 0.8  # a little less than what is to be quantised, so that residuals shrink
_CENTROID_DECAY = 0.87  # of the residual from one codebook to the next


def random_mimi(config: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """float32 tensors under the published names."""
    made = RandomTensors(seed)
    _encoder(made, config["seanet"])
    _decoder(made, config["seanet"])
    for side in ("encoder", "decoder"):
        _transformer(made, f"{side}_transformer.transformer", config["transformer"])
    width = config["seanet"]["dimension"]
    made.product("downsample.conv.conv.conv.weight", (width, width, 4), 1.0)
    made.normal("upsample.convtr.convtr.convtr.weight", (width, 1, 4), 0.25, mean=0.6)
    _quantizer(made, "quantizer.rvq_first", config["quantizer"], layers=1)
    _quantizer(made, "quantizer.rvq_rest", config["quantizer"], layers=config["quantizer"]["n_q"] - 1)
    return made.tensors


def _encoder(made: RandomTensors, seanet: Mapping[str, Any]) -> None:
    channels = seanet["n_filters"]
    _conv(made, "encoder.model.0.conv.conv", (channels, seanet["channels"], seanet["kernel_size"]), _INPUT_GAIN)
    for level, ratio in enumerate(reversed(seanet["ratios"])):
        _residual(made, f"encoder.model.{1 + 3 * level}", channels, seanet)
        _conv(made, f"encoder.model.{3 + 3 * level}.conv.conv", (2 * channels, channels, 2 * ratio), 1.0)
        channels *= 2
    _conv(made, "encoder.model.14.conv.conv", (seanet["dimension"], channels, seanet["last_kernel_size"]), 1.3)


def _decoder(made: RandomTensors, seanet: Mapping[str, Any]) -> None:
    channels = seanet["n_filters"] * 2 ** len(seanet["ratios"])
    _conv(made, "decoder.model.0.conv.conv", (channels, seanet["dimension"], seanet["kernel_size"]), 1.0)
    for level, ratio in enumerate(seanet["ratios"]):
        name = f"decoder.model.{2 + 3 * level}.convtr.convtr"
        # Twice the stride wide: two taps of every input channel meet in one output.
        made.product(f"{name}.weight", (channels, channels // 2, 2 * ratio), 1.0, inputs=2 * channels)
        channels //= 2
        made.normal(f"{name}.bias", (channels,), _BIAS_STD)
        _residual(made, f"decoder.model.{3 + 3 * level}", channels, seanet)
    _conv(made, "decoder.model.14.conv.conv", (seanet["channels"], channels, seanet["last_kernel_size"]), _OUTPUT_GAIN)
    made.tensors["decoder.model.14.conv.conv.bias"].zero_()  # an offset would be heard as a click


def _residual(made: RandomTensors, prefix: str, channels: int, seanet: Mapping[str, Any]) -> None:
    inner = channels // seanet["compress"]
    _conv(made, f"{prefix}.block.1.conv.conv", (inner, channels, seanet["residual_kernel_size"]), 1.2)
    _conv(made, f"{prefix}.block.3.conv.conv", (channels, inner, 1), 1.2)


def _conv(made: RandomTensors, prefix: str, shape: tuple[int, int, int], gain: float) -> None:
    made.product(f"{prefix}.weight", shape, gain)
    made.normal(f"{prefix}.bias", shape[:1], _BIAS_STD)


def _transformer(made: RandomTensors, prefix: str, transformer: Mapping[str, Any]) -> None:
    width, hidden = transformer["d_model"], transformer["dim_feedforward"]
    for layer in range(transformer["num_layers"]):
        name = f"{prefix}.layers.{layer}"
        made.product(f"{name}.self_attn.in_proj_weight", (3 * width, width), 1.0)
        made.product(f"{name}.self_attn.out_proj.weight", (width, width), 1.0)
        made.product(f"{name}.linear1.weight", (hidden, width), 1.0)
        made.product(f"{name}.linear2.weight", (width, hidden), 1.0)
        for part in ("1", "2"):
            made.normal(f"{name}.norm{part}.weight", (width,), 0.1, mean=1.0)
            made.normal(f"{name}.norm{part}.bias", (width,), 0.05)
            made.normal(f"{name}.layer_scale_{part}.scale", (width,), 0.08, mean=0.25)


def _quantizer(made: RandomTensors, prefix: str, quantizer: Mapping[str, Any], layers: int) -> None:
    width, bins = quantizer["dimension"], quantizer["bins"]
    made.product(f"{prefix}.input_proj.weight", (width, quantizer["input_dimension"], 1), 1.0)
    made.product(f"{prefix}.output_proj.weight", (quantizer["output_dimension"], width, 1), 1.0)
    for layer in range(layers):
        name = f"{prefix}.vq.layers.{layer}._codebook"
        made.uniform(f"{name}.cluster_usage", (bins,), 0.5, 2.0)
        made.normal(f"{name}.embedding_sum", (bins, width), _CENTROID_STD * _CENTROID_DECAY**layer)
        made.tensors[f"{name}.embedding_sum"] *= made.tensors[f"{name}.cluster_usage"][:, None]
        made.normal(f"{name}._initialized", (1,), 0.0, mean=1.0)
