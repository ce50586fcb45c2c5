"""Configuration of a Moshi language model, from config.json (docs/model.md 2.1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moshi_cluster.models.moshi_lm.conditions import Condition, read_conditions
from moshi_cluster.models.sampling import LIMITS, MOST_TOP_K, Sampling

_LOG = logging.getLogger(__name__)
# Published keys with one value that this implementation knows; anything else is another model.
_ONLY: dict[str, tuple[Any, ...]] = {
    "causal": (True,),
    "layer_scale": (None,),
    "bias_proj": (False,),
    "norm_emb": (False,),
    "kv_repeat": (1,),
    "cross_attention": (False,),
    "demux_second_stream": (False,),
    "demux_second_text_stream": (False,),
    "positional_embedding": ("rope", "none"),
    "lora": (False,),
    "depformer_causal": (True,),
    "depformer_gating": ("silu",),
    "depformer_layer_scale": (None,),
    "depformer_multi_linear": (True,),
    "depformer_weights_per_step": (True,),
    "depformer_pos_emb": ("none",),
    "depformer_norm": (None,),
}
# Published keys that change nothing here: training, files, other tasks, or ignored upstream as well.
_WITHOUT_EFFECT = frozenset(
    {
        "hidden_scale",
        "depformer_dim_feedforward",
        "depformer_context",
        "depformer_max_period",
        "gradient_checkpointing",
        "quantize",
        "lora_rank",
        "lora_scaling",
        "extra_heads_num_heads",
        "extra_heads_dim",
        "moshi_name",
        "mimi_name",
        "mimi_config_name",
        "tokenizer_name",
        "lora_name",
        "model_type",
        "tts_config",
        "stt_config",
        "model_id",
    }
)
_MOST_FRAMES = 10_000  # no stream is later
NORMS = ("rms_norm_f32", "rms_norm", "layer_norm", "layer_norm_f32")
GATINGS = ("silu", "none")


@dataclass(frozen=True)
class LmConfig:
    """Shape of the two Transformers. Names are config.json's; feed-forward sizes are read from the tensors."""

    dim: int
    num_layers: int
    num_heads: int
    n_q: int  # audio streams the model reads
    dep_q: int  # audio streams it generates, the first of them
    card: int  # audio codes per codebook; this value itself is the initial token
    text_card: int  # text tokens; this value itself is the initial token
    delays: tuple[int, ...]  # frames by which each stream is late: text, own codebooks, user codebooks
    context: int = 3000  # frames the Temporal Transformer attends to
    max_period: float = 10000.0
    rope: bool = True
    gating: str = "silu"
    norm: str = "rms_norm_f32"
    text_card_out: int = 0  # rows of the text head; 0 in the file or absent means text_card
    existing_text_padding_id: int = 3
    existing_text_end_padding_id: int = 0
    depformer_dim: int = 0
    depformer_num_layers: int = 0
    depformer_num_heads: int = 0
    depformer_weights_per_step_schedule: tuple[int, ...] = ()  # weight block of every step
    depformer_low_rank_embeddings: int | None = None
    conditions: tuple[Condition, ...] = ()  # that the checkpoint was trained with; their values are fixed
    lm_gen_config: Sampling = field(default_factory=Sampling)  # of callers who name nothing; its seed means nothing

    @property
    def streams(self) -> int:
        """Text, own and user codebooks: the columns of a token history."""
        return 1 + self.n_q

    @property
    def generated(self) -> int:
        """Text and own codebooks."""
        return 1 + self.dep_q

    @property
    def user_codebooks(self) -> int:
        return self.n_q - self.dep_q

    @property
    def max_delay(self) -> int:
        return max(self.delays)

    @property
    def depth_blocks(self) -> int:
        """How many sets of weights the Depth Transformer has."""
        return max(self.depformer_weights_per_step_schedule, default=-1) + 1

    @property
    def initial_tokens(self) -> tuple[int, ...]:
        """What every stream reads before its first token."""
        return (self.text_card,) + (self.card,) * self.n_q

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> LmConfig:
        """From a published config.json. Raises ValueError naming the key that is missing, unknown or unsupported."""
        left = {key: value for key, value in config.items() if key not in _WITHOUT_EFFECT}
        for key in _ONLY.keys() & left.keys():
            if left[key] not in _ONLY[key]:
                supported = " or ".join(map(repr, _ONLY[key]))
                raise ValueError(f"{key}: {left[key]!r} is not supported, only {supported}")
        position = left.get("positional_embedding", "rope")
        left = {key: value for key, value in left.items() if key not in _ONLY}
        reader = _Reader(left)
        n_q, dep_q = reader.count("n_q", 1), reader.count("dep_q", 0)
        text_card = reader.count("text_card", 1)
        if dep_q > n_q:
            raise ValueError(f"dep_q: {dep_q} generated streams of {n_q} (n_q)")
        built = cls(
            dim=reader.count("dim", 1),
            num_layers=reader.count("num_layers", 1),
            num_heads=reader.count("num_heads", 1),
            n_q=n_q,
            dep_q=dep_q,
            card=reader.count("card", 1),
            text_card=text_card,
            delays=reader.counts("delays", 1 + n_q),
            context=reader.count("context", 1, 3000),
            max_period=reader.number("max_period", 10000.0),
            rope=position == "rope",
            gating=reader.choice("gating", GATINGS, "silu"),
            norm=reader.choice("norm", NORMS, "rms_norm_f32"),
            text_card_out=reader.count("text_card_out", 0, 0) or text_card,
            existing_text_padding_id=reader.count("existing_text_padding_id", 0, 3),
            existing_text_end_padding_id=reader.count("existing_text_end_padding_id", 0, 0),
            depformer_dim=reader.count("depformer_dim", 1, None if dep_q else 1),
            depformer_num_layers=reader.count("depformer_num_layers", 1, None if dep_q else 1),
            depformer_num_heads=reader.count("depformer_num_heads", 1, None if dep_q else 1),
            depformer_weights_per_step_schedule=reader.counts(
                "depformer_weights_per_step_schedule", dep_q, tuple(range(dep_q)), most=max(0, dep_q - 1)
            ),
            depformer_low_rank_embeddings=reader.count("depformer_low_rank_embeddings", 0, 0) or None,
            conditions=read_conditions(left.pop("conditioners", None), left.pop("fuser", None)),
            lm_gen_config=_read_sampling(left.pop("lm_gen_config", None)),
        )
        if left:
            raise ValueError(f"{min(left)}: unknown key")
        _check_heads("num_heads", built.num_heads, built.dim)
        if dep_q:
            _check_heads("depformer_num_heads", built.depformer_num_heads, built.depformer_dim)
        return built


def _read_sampling(given: Any) -> Sampling:
    """Sampling of lm_gen_config, the defaults where it is silent. Its other keys tune upstream's generator only."""
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"lm_gen_config: expected an object, found {given!r:.40}")
    reader = _Reader(dict(given or {}), "lm_gen_config.")
    sampled, ours = reader.flag("use_sampling", True), Sampling()
    return Sampling(
        text_temperature=reader.temperature("temp_text", ours.text_temperature) if sampled else 0.0,
        text_top_k=reader.top_k("top_k_text", ours.text_top_k),
        audio_temperature=reader.temperature("temp", ours.audio_temperature) if sampled else 0.0,
        audio_top_k=reader.top_k("top_k", ours.audio_top_k),
    )


def _check_heads(key: str, heads: int, dim: int) -> None:
    if dim % heads or dim // heads % 2:
        raise ValueError(f"{key}: {heads} heads do not divide width {dim} into even parts")


class _Reader:
    """Takes keys out of a dictionary, checking each."""

    def __init__(self, values: dict[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def count(self, key: str, least: int, default: int | None = None) -> int:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{self._prefix}{key}: expected an integer of at least {least}, found {value!r}")
        return value

    def number(self, key: str, default: float) -> float:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ValueError(f"{self._prefix}{key}: expected a number of at least 0, found {value!r}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise ValueError(f"{self._prefix}{key}: expected true or false, found {value!r:.40}")
        return value

    def temperature(self, key: str, default: float) -> float:
        value = self.number(key, default)
        if not (limit := LIMITS["text_temperature"]).allows(value):
            raise ValueError(f"{self._prefix}{key}: must be {limit}, found {value!r}")
        return value

    def top_k(self, key: str, default: int) -> int:
        """0, the whole vocabulary, and whatever is too much become the most there is."""
        wanted = self.count(key, 0, default)
        if not 1 <= wanted <= MOST_TOP_K:
            _LOG.warning("config.json: %s%s: %d is drawn from the %d likeliest", self._prefix, key, wanted, MOST_TOP_K)
        return min(wanted or MOST_TOP_K, MOST_TOP_K)

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self._take(key, default)
        if value not in choices:
            raise ValueError(f"{self._prefix}{key}: {value!r} is not one of {', '.join(choices)}")
        return str(value)

    def counts(
        self, key: str, length: int, default: tuple[int, ...] | None = None, most: int = _MOST_FRAMES
    ) -> tuple[int, ...]:
        value = self._take(key, default)
        whole = isinstance(value, (list, tuple)) and all(type(item) is int and 0 <= item <= most for item in value)
        if not whole or len(value) != length:
            raise ValueError(f"{self._prefix}{key}: expected {length} integers of 0 to {most}, found {value!r}")
        return tuple(value)

    def _take(self, key: str, default: Any) -> Any:
        value = self._values.pop(key, None)
        if value is None:
            value = default
        if value is None:
            raise ValueError(f"{self._prefix}{key}: missing")
        return value
