"""Tiny random models of every family that transformers can build: two layers, 64 wide, a window of four tokens.

What a family does to its logits (scaling, soft-capping) is set to values that show, and weights are large enough for
differences to be seen. Used by `ullme check-backbones` and by the tests; it downloads nothing.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

WIDTH, LAYERS, VOCABULARY, HEADS, KV_HEADS, HEAD, INNER, WINDOW, LENGTH = 64, 2, 128, 4, 2, 16, 96, 4, 256


_SIZES: dict[str, Any] = {}
for _value, _names in (
    (VOCABULARY, "vocab_size vocab_size_per_layer_input unpadded_vocab_size"),
    (WIDTH, "hidden_size d_model n_embd embedding_size word_embed_proj_dim mamba_d_ssm lru_width"),
    (LAYERS, "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers"),
    (HEADS, "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads"),
    (KV_HEADS, "num_key_value_heads num_kv_heads"),
    (HEAD, "head_dim d_kv v_head_dim qk_head_dim mamba_d_head linear_key_head_dim linear_value_head_dim"),
    (INNER, "intermediate_size ffn_dim d_ff ffn_hidden_size n_inner dff decoder_ffn_dim encoder_ffn_dim"),
    (48, "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size expert_ffn_hidden_size"),
    (4, "num_experts num_local_experts n_routed_experts moe_num_experts linear_num_value_heads"),
    (2, "num_experts_per_tok moe_k moe_topk linear_num_key_heads num_experts_per_token"),
    (1, "n_shared_experts n_group topk_group first_k_dense_replace mamba_n_groups num_dense_layers"),
    (8, "qk_nope_head_dim qk_rope_head_dim rotary_dim mamba_d_state mamba_n_heads state_size laurel_rank"),
    (8, "hidden_size_per_layer_input"),
    (16, "kv_lora_rank mamba_chunk_size index_head_dim"),
    (24, "q_lora_rank"),
    (HEAD, "linear_head_dim dim_head swa_head_dim"),
    (HEADS, "linear_num_heads swa_num_attention_heads"),
    (KV_HEADS, "swa_num_key_value_heads"),
    (INNER, "dim_ff shared_experts_intermediate_size"),
    (8, "o_lora_rank o_groups d_rel rel_extent"),
    (LENGTH, "max_position_embeddings n_positions max_seq_len n_ctx seq_length seq_len"),
    (2, "index_n_heads"),
    (64, "index_topk"),
    (WINDOW, "sliding_window sliding_window_size window_size"),
    (8, "attention_chunk_size"),
    (0.0, "attention_dropout hidden_dropout resid_pdrop embd_pdrop attn_pdrop dropout embed_dropout resid_dropout"),
    (0.0, "activation_dropout layerdrop residual_dropout embedding_dropout hidden_dropout_prob dropout_rate"),
    (0.0, "attention_probs_dropout_prob expert_dropout summary_first_dropout router_jitter_noise input_jitter_noise"),
    (0.0, "decoder_layerdrop encoder_layerdrop lora_dropout_p emb_pdrop dropout_p ffn_dropout"),
    (5.0, "final_logit_softcapping logits_soft_cap output_logit_soft_cap"),
    (0.5, "logit_scale lm_head_multiplier"),
    (3.0, "logits_scaling logits_mup_width_multiplier"),
):
    _SIZES |= dict.fromkeys(_names.split(), _value)

_UNSET = {"head_dim", "rotary_dim", "n_inner", "q_lora_rank", "sliding_window", "ffn_dim", "logit_scale", "d_kv"}
"""Left alone where the family's default is None: setting them would make another model of it."""

_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
"""Where the family's own number lies beyond the vocabulary."""

_SLIDING_FULL = ["sliding_attention", "full_attention"]
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_HYBRID = ["linear_attention", "full_attention"]
_PARTICULAR: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"layer_types": _HYBRID, "num_mtp_layers": 0},
    "bamba": {"attn_layer_indices": [1]},
    "cohere_compass_text": {"rope_parameters": dict.fromkeys(_SLIDING_FULL, _ROPE), "logit_scale": 0.5},
    "dbrx": {
        "attn_config": {"kv_n_heads": KV_HEADS, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": INNER, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": WIDTH},
    },
    "falcon_h1": {"mamba_d_head": 8},
    "gemma3n_text": {"num_kv_shared_layers": 0, "layer_types": _SLIDING_FULL},
    "gemma4_text": {"num_kv_shared_layers": 0, "layer_types": _SLIDING_FULL, "global_head_dim": HEAD},
    "gemma4_unified_text": {"num_kv_shared_layers": 0, "layer_types": _SLIDING_FULL, "global_head_dim": HEAD},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": _HYBRID},
    "hunyuan_v1_dense": {"head_dim": HEAD, "rope_parameters": _ROPE},
    "hunyuan_v1_moe": {"head_dim": HEAD, "rope_parameters": _ROPE},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "kimi_linear": {"layer_types": _HYBRID},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": {"num_layers": 1, "zero_expert_num": 2},
    "mamba2": {"num_heads": 8, "n_groups": 1},
    "ministral": {"head_dim": HEAD, "layer_types": _SLIDING_FULL},
    "nemotron_h": {"layers_block_type": _HYBRID, "mamba_num_heads": 8, "mamba_head_dim": HEAD, "n_groups": 1},
    "qwen4_exp_text": {
        "layer_types": _HYBRID,
        "hc_lowrank": 8,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": HEAD,
        "indexer_budget": 64,
        "indexer_compress_ratio": 2,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "attention_window_size": WINDOW},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_key_value_heads": HEADS,
        "attention_head_dim": 32,
        "attention_hidden_size": 2 * WIDTH,
    },
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"], "num_mem_blocks": 1, "hybrid_layer_ids": [1]},
    "xlstm": {"qk_dim_factor": 1.0},
    "zaya": {"num_experts_per_tok": 1},
}


def tiny_config(model_type: str, **settings: Any) -> Any:
    """A transformers config of that type, made small; `settings` win. Raises what the config's own checks raise."""
    from transformers import CONFIG_MAPPING

    cls = CONFIG_MAPPING[model_type]
    usual = cls()
    names = [field.name for field in dataclasses.fields(cls)]
    aliases = getattr(cls, "attribute_map", {})
    mine: dict[str, Any] = {}
    for name in names:
        default = usual.__dict__.get(aliases.get(name, name))
        if aliases.get(name) in names or isinstance(getattr(cls, name, None), property):
            continue
        if name in _SIZES and not (default is None and name in _UNSET):
            mine[name] = _SIZES[name]
        elif name in _TOKENS and default is not None and not (isinstance(default, int) and 0 <= default < VOCABULARY):
            mine[name] = _TOKENS[name]
        elif "layer" in name and "type" in name and isinstance(default, list) and len(default) > LAYERS:
            mine[name] = _one_of_each(default)
    if "qk_rope_head_dim" in mine:  # latent attention: `head_dim` is that of the rotary part, and keys have every head
        mine |= {"head_dim": mine["qk_rope_head_dim"], "num_key_value_heads": HEADS}
    mine |= _PARTICULAR.get(model_type, {}) | settings
    return cls(**mine)


def tiny_model(
    config: Any, implementation: str | None = None, *, kind: str = "AutoModelForCausalLM", seed: int = 0
) -> Any:
    """The model that the transformers class `kind` makes of `config`: random weights, fp32, eval mode."""
    import torch
    import transformers

    torch.manual_seed(seed)
    maker = getattr(transformers, kind)
    make = maker.from_config if hasattr(maker, "from_config") else maker._from_config
    model: Any = make(config, **({"attn_implementation": implementation} if implementation else {}))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.05 if parameter.dim() > 1 else 0.01))
    return model.float().eval()


def tiny_tokenizer() -> Any:
    """One token a printable character, and the usual special ones, within `VOCABULARY`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = {token: id for id, token in enumerate(special + [chr(code) for code in range(33, 127)])}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    named = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=core, **named, cls_token="<s>", sep_token="</s>")


def save_tiny(folder: Path, model_type: str, *, seed: int = 0, tokenizer: Any = None, **settings: Any) -> Path:
    """A tiny model and a tokenizer in `folder`, in the layout in which models of that type are published."""
    from ullme import quiet_transformers

    tokenizer = tokenizer or tiny_tokenizer()
    with quiet_transformers():
        if model_type == "nvembed":
            _save_nv_embed(folder, seed, settings)
        else:
            tiny_model(tiny_config(model_type, **settings), kind=made_by(model_type), seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def made_by(model_type: str) -> str:
    """The transformers class that the published weights of a type are of."""
    from ullme_plugins.backbones.auto import kind_of

    encoders = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
    return encoders.get(model_type) or ("AutoModelForCausalLM" if kind_of(model_type) == "decoder" else "AutoModel")


def _save_nv_embed(folder: Path, seed: int, settings: dict[str, Any]) -> None:
    """As NVIDIA publishes it: the body's weights under a prefix, a pooler's beside them, the config one level down."""
    import json

    import torch
    from safetensors.torch import save_file

    config = tiny_config("mistral", **settings)
    body = tiny_model(config, kind="MistralModel", seed=seed)
    weights = {f"embedding_model.{name}": tensor for name, tensor in body.state_dict().items()}
    weights["latent_attention_model.latents"] = torch.zeros(4, config.hidden_size)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    described = config.to_dict() | {"model_type": "bidir_mistral"}
    (folder / "config.json").write_text(json.dumps({"model_type": "nvembed", "text_config": described}), "utf-8")


def _one_of_each(types: list[Any]) -> list[Any]:
    kinds = list(dict.fromkeys(types))
    return (kinds * LAYERS)[:LAYERS]
