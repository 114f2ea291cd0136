"""Writes `t5_reference.json`: the logarithms of the probabilities that T5 of the Python package transformers gives a text, with
the weights of `EncoderDecoderConfig::random_weights(7)`. Run with transformers and torch.
"""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import T5Config, T5ForConditionalGeneration

from random_weights import RandomWeights


def weight(numbers, name, shape):
    scale, middle = np.float32(0.5), np.float32(0)
    if name.endswith("norm.weight"):
        scale, middle = np.float32(0.3), np.float32(1)
    elif not any(part in name for part in ("embed", "shared", "relative")):
        scale = np.sqrt(np.float32(3) / np.float32(shape[1]))
    return torch.tensor(numbers.array(shape, scale, middle))


def shapes(config, tied):
    """As `weight_shapes` has them, in the same order."""
    inner = config.num_heads * config.d_kv
    yield "shared.weight", (config.vocab_size, config.d_model)
    for side, layers in (("encoder", config.num_layers), ("decoder", config.num_decoder_layers)):
        attentions = ["SelfAttention"] if side == "encoder" else ["SelfAttention", "EncDecAttention"]
        for layer in range(layers):
            block = f"{side}.block.{layer}.layer"
            for i, attention in enumerate(attentions):
                for part in "qkv":
                    yield f"{block}.{i}.{attention}.{part}.weight", (inner, config.d_model)
                yield f"{block}.{i}.{attention}.o.weight", (config.d_model, inner)
                yield f"{block}.{i}.layer_norm.weight", (config.d_model,)
            if layer == 0:
                name = f"{block}.0.SelfAttention.relative_attention_bias.weight"
                yield name, (config.relative_attention_num_buckets, config.num_heads)
            i = len(attentions)
            for part in ("wi_0", "wi_1") if config.is_gated_act else ("wi",):
                yield f"{block}.{i}.DenseReluDense.{part}.weight", (config.d_ff, config.d_model)
            yield f"{block}.{i}.DenseReluDense.wo.weight", (config.d_model, config.d_ff)
            yield f"{block}.{i}.layer_norm.weight", (config.d_model,)
        yield f"{side}.final_layer_norm.weight", (config.d_model,)
    if not tied:
        yield "lm_head.weight", (config.vocab_size, config.d_model)


def scores(**more):
    numbers = RandomWeights(7)
    config = T5Config(
        vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=2, num_heads=4,
        decoder_start_token_id=0, dropout_rate=0.0, **more,
    )
    model = T5ForConditionalGeneration(config).eval()
    tied = more["tie_word_embeddings"]
    weights = {name: weight(numbers, name, shape) for name, shape in shapes(config, tied)}
    if not tied:
        # The package ties the two whatever the configuration says.
        model.lm_head.weight = torch.nn.Parameter(torch.empty(config.vocab_size, config.d_model))
    left = model.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys, left
    same = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"}
    assert set(left.missing_keys) <= same, left
    model.encoder.embed_tokens.weight = model.decoder.embed_tokens.weight = model.shared.weight
    if tied:
        model.lm_head.weight = model.shared.weight
    source = torch.tensor([[(i * 13 + 5) % 61 for i in range(40)]])
    text = [(i * i * 7 + 3 * i + 11) % 61 for i in range(44)]
    with torch.no_grad():
        logits = model(input_ids=source, decoder_input_ids=torch.tensor([[0, *text[:-1]]])).logits[0]
    probabilities = torch.log_softmax(logits.double(), -1)
    return [round(float(row[token]), 5) for row, token in zip(probabilities, text)]


found = {
    "tied": scores(feed_forward_proj="relu", tie_word_embeddings=True),
    "gated": scores(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
}
Path(__file__).with_suffix(".json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
