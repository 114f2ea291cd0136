"""Writes `decoder_reference.json`: for each family of decoders the `config.json` that the Python package transformers writes, and
the logarithms of the probabilities that its model gives a text, with the weights of `DecoderConfig::random_weights(7)`. Run with
transformers 5 and torch.
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from random_weights import RandomWeights

SIZES = dict(
    vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=64, pad_token_id=None, bos_token_id=None, eos_token_id=None,
)
GEMMA = dict(head_dim=16, query_pre_attn_scalar=16, sliding_window=8)
LLAMA_3 = dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
               original_max_position_embeddings=16)
LONG = dict(rope_type="longrope", rope_theta=100.0, short_factor=[1.0, 1.3], long_factor=[2.0, 5.0])
SLIDING, WHOLE = "sliding_attention", "full_attention"

FAMILIES = {
    "llama": ("Llama", dict(rope_parameters=LLAMA_3, tie_word_embeddings=True)),
    "llama, another base": ("Llama", dict(rope_parameters=dict(rope_type="default", rope_theta=50.0))),
    "llama, linear": ("Llama", dict(rope_parameters=dict(rope_type="linear", rope_theta=50.0, factor=3.0))),
    "mistral": ("Mistral", dict(sliding_window=8, rope_parameters=dict(rope_type="default", rope_theta=100.0))),
    "qwen2": ("Qwen2", dict(use_sliding_window=True, sliding_window=8, max_window_layers=2)),
    "qwen3": ("Qwen3", dict(head_dim=16, use_sliding_window=True, sliding_window=8, max_window_layers=3)),
    "phi3": ("Phi3", dict(sliding_window=8)),
    # A text of 44 tokens is within 48 tokens, and beyond 32.
    "phi3, short": ("Phi3", dict(rope_parameters=LONG | dict(partial_rotary_factor=0.5), original_max_position_embeddings=48)),
    "phi3, long": ("Phi3", dict(rope_parameters=LONG | dict(partial_rotary_factor=0.5), original_max_position_embeddings=32)),
    "gemma2": ("Gemma2", GEMMA | dict(attn_logit_softcapping=5.0, final_logit_softcapping=3.0)),
    "gemma3_text": ("Gemma3Text", GEMMA | dict(
        layer_types=[SLIDING, WHOLE, WHOLE, SLIDING],
        rope_parameters={
            WHOLE: dict(rope_type="linear", rope_theta=500.0, factor=4.0),
            SLIDING: dict(rope_type="default", rope_theta=50.0),
        },
    )),
    "smollm3": ("SmolLM3", dict(no_rope_layers=[1, 0, 0, 1], use_sliding_window=False)),
    "smollm3, windows": ("SmolLM3", dict(no_rope_layer_interval=2, use_sliding_window=True, sliding_window=8)),
}


def names(config, joined, biases, head_norms, norms_after):
    """As `DecoderConfig::weight_shapes` has them, in the same order."""
    hidden, inner, head = config.hidden_size, config.intermediate_size, getattr(config, "head_dim", None)
    head = head or hidden // config.num_attention_heads
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    yield "model.embed_tokens.weight", (config.vocab_size, hidden)
    for layer in range(config.num_hidden_layers):
        at = f"model.layers.{layer}"
        if joined:
            yield f"{at}.self_attn.qkv_proj.weight", (queries + 2 * keys, hidden)
            yield f"{at}.mlp.gate_up_proj.weight", (2 * inner, hidden)
        else:
            for name, out in (("q", queries), ("k", keys), ("v", keys)):
                yield f"{at}.self_attn.{name}_proj.weight", (out, hidden)
                if biases:
                    yield f"{at}.self_attn.{name}_proj.bias", (out,)
            yield f"{at}.mlp.gate_proj.weight", (inner, hidden)
            yield f"{at}.mlp.up_proj.weight", (inner, hidden)
        yield f"{at}.self_attn.o_proj.weight", (hidden, queries)
        yield f"{at}.mlp.down_proj.weight", (hidden, inner)
        if head_norms:
            yield f"{at}.self_attn.q_norm.weight", (head,)
            yield f"{at}.self_attn.k_norm.weight", (head,)
        norms = ["input", "post_attention"] + (["pre_feedforward", "post_feedforward"] if norms_after else [])
        for norm in norms:
            yield f"{at}.{norm}_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    if not config.tie_word_embeddings:
        yield "lm_head.weight", (config.vocab_size, hidden)


def weight(numbers, name, shape, norm):
    scale, middle = np.float32(0.5), np.float32(0)
    if name.endswith("norm.weight"):
        scale, middle = np.float32(0.3), np.float32(norm)
    elif len(shape) == 2 and "embed" not in name:
        scale = np.sqrt(np.float32(3) / np.float32(shape[1]))
    return torch.tensor(numbers.array(shape, scale, middle))


def scores(family, more):
    config = getattr(transformers, f"{family}Config")(**(SIZES | more))
    config._attn_implementation = "eager"
    kind = "Gemma3" if family == "Gemma3Text" else family
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    gemma = family.startswith("Gemma")
    numbers = RandomWeights(7)
    shapes = names(config, family == "Phi3", family == "Qwen2", family in ("Qwen3", "Gemma3Text"), gemma)
    weights = {name: weight(numbers, name, shape, 0 if gemma else 1) for name, shape in shapes}
    left = model.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys and set(left.missing_keys) <= {"lm_head.weight"}, left
    text = [(i * i * 7 + 3 * i + 11) % 61 for i in range(44)]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([text])).logits[0]
    probabilities = torch.log_softmax(logits.double(), -1)
    found = [round(float(row[token]), 5) for row, token in zip(probabilities, text[1:])]
    return {"config": json.loads(config.to_json_string()), "scores": found}


found = {name: scores(*family) for name, family in FAMILIES.items()}
lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in found.items())
Path(__file__).with_suffix(".json").write_text(f"{{\n{lines}\n}}\n")
