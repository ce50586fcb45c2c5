"""Configuration of a Moshi language model, from config.json (docs/model.md 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moshi_cluster.models.moshi_lm.conditions import Condition, read_conditions
from moshi_cluster.models.moshi_lm.config_reader import ConfigReader, read_sampling
from moshi_cluster.models.sampling import Sampling

# Published keys with one value that this implementation knows; anything else is another model. Beside it, what upstream
# takes where the key is absent. Refused in this order.
_ONLY: Mapping[str, tuple[object, object]] = {
    "cross_attention": (False, False),
    "demux_second_stream": (False, False),
    "demux_second_text_stream": (False, False),
    "causal": (True, True),
    "layer_scale": (None, None),
    "bias_proj": (False, False),
    "norm_emb": (False, False),
    "positional_scale": (1.0, 1.0),
    "lora": (False, False),
}
_ONLY_OF_DEPTH: Mapping[str, tuple[object, object]] = {
    "depformer_layer_scale": (None, None),
    "depformer_multi_linear": (False, True),
    "depformer_weights_per_step": (False, True),
}
# Published keys that change nothing here: training, files, other tasks, or ignored upstream as well.
_WITHOUT_EFFECT = frozenset(
    {
        "hidden_scale",
        "depformer_dim_feedforward",
        "depformer_context",
        "depformer_causal",
        "betas",
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
NORMS = ("rms_norm_f32", "rms_norm", "layer_norm", "layer_norm_f32")
GATINGS = ("silu", "none")
POSITIONS = ("rope", "rope_concat", "sin", "sin_rope", "none")
DEPTH_POSITIONS = ("sin", "none")


@dataclass(frozen=True)
class PromptCodes:
    """Codes of the frames of a prompt: what the model says and hears where it is given nothing else."""

    silence: tuple[int, ...]  # of its own streams
    tone: tuple[int, ...]  # of the user's


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
    context: int  # frames the Temporal Transformer attends to
    max_period: float
    positional_embedding: str
    kv_repeat: int  # heads of queries that share one of keys and values
    gating: str
    norm: str
    text_card_out: int  # rows of the text head
    existing_text_padding_id: int
    existing_text_end_padding_id: int
    depformer_dim: int
    depformer_num_layers: int
    depformer_num_heads: int
    depformer_kv_repeat: int
    depformer_pos_emb: str
    depformer_max_period: float
    depformer_norm: str | None  # before each head
    depformer_weights_per_step_schedule: tuple[int, ...]  # weight block of every step
    depformer_low_rank_embeddings: int | None
    stored_dep_q: int  # steps that the file's Depth Transformer has; those beyond dep_q are not used
    prompt_codes: PromptCodes | None = None  # None: it was not trained to take prompts
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
    def stored_schedule(self) -> tuple[int, ...]:
        """Weight block of every step that the file has."""
        schedule = self.depformer_weights_per_step_schedule
        return schedule + tuple(range(self.depth_blocks, self.depth_blocks + self.stored_dep_q - self.dep_q))

    @property
    def stored_depth_blocks(self) -> int:
        """How many sets of weights the file has."""
        return max(self.stored_schedule, default=-1) + 1

    @property
    def initial_tokens(self) -> tuple[int, ...]:
        """What every stream reads before its first token."""
        return (self.text_card,) + (self.card,) * self.n_q

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> LmConfig:
        """From a published config.json; what it does not say is as upstream takes it, or refused.

        Raises ValueError naming the key that is missing, unknown or unsupported, of several always the same one.
        """
        left = {key: value for key, value in config.items() if key not in _WITHOUT_EFFECT}
        reader = ConfigReader(left)
        for key, (absent, supported) in _ONLY.items():
            reader.only(key, absent, supported)
        n_q, dep_q = reader.count("n_q", 1), reader.count("dep_q", 0)
        if dep_q > n_q:
            raise ValueError(f"dep_q: {dep_q} generated streams of {n_q} (n_q)")
        text_card, num_layers = reader.count("text_card", 1), reader.count("num_layers", 1)
        kv_repeat, max_period = reader.count("kv_repeat", 1, 1), reader.number("max_period", 10000.0)
        gating = reader.choice("gating", GATINGS, "none")
        built = cls(
            dim=reader.count("dim", 1),
            num_layers=num_layers,
            num_heads=reader.count("num_heads", 1),
            n_q=n_q,
            dep_q=dep_q,
            card=reader.count("card", 1),
            text_card=text_card,
            delays=reader.counts("delays", 1 + n_q),
            context=reader.count("context", 1),
            max_period=max_period,
            positional_embedding=reader.choice("positional_embedding", POSITIONS, "sin"),
            kv_repeat=kv_repeat,
            gating=gating,
            norm=reader.choice("norm", NORMS, "layer_norm"),
            text_card_out=reader.count("text_card_out", 1, text_card, most=text_card),
            existing_text_padding_id=reader.count("existing_text_padding_id", 0, 3),
            existing_text_end_padding_id=reader.count("existing_text_end_padding_id", 0, 0),
            **_read_depth(reader, dep_q, num_layers, kv_repeat, max_period, gating),
            prompt_codes=_read_prompt_codes(reader, dep_q, n_q, left),
            conditions=read_conditions(left.pop("conditioners", None), left.pop("fuser", None)),
            lm_gen_config=read_sampling(left.pop("lm_gen_config", None)),
        )
        if left:
            raise ValueError(f"{min(left)}: unknown key")
        _check_heads("", built.num_heads, built.dim, built.kv_repeat)
        if dep_q:
            _check_heads("depformer_", built.depformer_num_heads, built.depformer_dim, built.depformer_kv_repeat)
        return built


def _read_depth(
    reader: ConfigReader, dep_q: int, num_layers: int, kv_repeat: int, max_period: float, gating: str
) -> dict[str, Any]:
    """Keys of the Depth Transformer. Those that are absent it has from the Temporal one, as upstream."""
    if dep_q:
        for key, (absent, supported) in _ONLY_OF_DEPTH.items():
            reader.only(key, absent, supported)
        reader.only("depformer_gating", gating, "silu")
    else:  # the keys of what is not there
        reader.drop([*_ONLY_OF_DEPTH, "depformer_gating"])
    return {
        "depformer_dim": reader.count("depformer_dim", 1, None if dep_q else 1),
        "depformer_num_layers": reader.count("depformer_num_layers", 1, num_layers),
        "depformer_num_heads": reader.count("depformer_num_heads", 1, None if dep_q else 1),
        "depformer_kv_repeat": reader.count("depformer_kv_repeat", 1, kv_repeat),
        "depformer_pos_emb": reader.choice("depformer_pos_emb", DEPTH_POSITIONS, "sin"),
        "depformer_max_period": reader.number("depformer_max_period", max_period),
        "depformer_norm": reader.choice("depformer_norm", ("", *NORMS), "") or None,
        "depformer_weights_per_step_schedule": reader.counts(
            "depformer_weights_per_step_schedule", dep_q, tuple(range(dep_q)), most=max(0, dep_q - 1)
        ),
        "depformer_low_rank_embeddings": reader.count("depformer_low_rank_embeddings", 0, 0) or None,
        "stored_dep_q": reader.count("stored_dep_q", dep_q, dep_q),
    }


def _read_prompt_codes(reader: ConfigReader, dep_q: int, n_q: int, left: Mapping[str, Any]) -> PromptCodes | None:
    """Keys of this repository: published checkpoints that take prompts do not say how."""
    if "prompt_silence_codes" not in left and "prompt_tone_codes" not in left:
        return None
    silence = reader.counts("prompt_silence_codes", dep_q)
    return PromptCodes(silence, reader.counts("prompt_tone_codes", n_q - dep_q))


def _check_heads(prefix: str, heads: int, dim: int, kv_repeat: int) -> None:
    if dim % heads or dim // heads % 2:
        raise ValueError(f"{prefix}num_heads: {heads} heads do not divide width {dim} into even parts")
    if heads % kv_repeat:
        raise ValueError(f"{prefix}kv_repeat: {kv_repeat} does not divide {heads} heads")
