"""Writes `transcribe_reference.json`: what `transcribe` of the Python package openai-whisper hears in two sounds, with the
weights of `EncoderDecoderConfig::random_weights`, embeddings times `FACTOR`. Run with openai-whisper and torch.
"""

import json
from pathlib import Path

import numpy as np
import torch
from whisper.decoding import DecodingOptions, DecodingTask
from whisper.model import ModelDimensions, Whisper
from whisper.transcribe import transcribe

from random_weights import RandomWeights

FACTOR = 2.5
HIDDEN, INNER, HEADS, LAYERS, POSITIONS = 16, 64, 2, 1, 64


def weight(numbers, name, shape):
    scale, middle = np.float32(0.5), np.float32(0)
    if len(shape) == 1 and name.endswith("norm.weight"):
        scale, middle = np.float32(0.3), np.float32(1)
    elif len(shape) == 3:
        scale = np.sqrt(np.float32(3) / np.float32(shape[1] * shape[2]))
    elif len(shape) == 2 and "embed" not in name:
        scale = np.sqrt(np.float32(3) / np.float32(shape[1]))
    values = numbers.array(shape, scale, middle)
    return torch.tensor(values * np.float32(FACTOR) if "embed_tokens" in name else values)


def shapes(vocabulary):
    """As `weight_shapes` has them, in the same order."""
    for name, channels in (("conv1", 80), ("conv2", HIDDEN)):
        yield f"model.encoder.{name}.weight", (HIDDEN, channels, 3)
        yield f"model.encoder.{name}.bias", (HIDDEN,)
    yield "model.decoder.embed_tokens.weight", (vocabulary, HIDDEN)
    yield "model.decoder.embed_positions.weight", (POSITIONS, HIDDEN)
    for side in ("encoder", "decoder"):
        norms = [f"model.{side}.layer_norm"]
        for layer in range(LAYERS):
            name = f"model.{side}.layers.{layer}"
            norms += [f"{name}.self_attn_layer_norm", f"{name}.final_layer_norm"]
            norms += [f"{name}.encoder_attn_layer_norm"] if side == "decoder" else []
        for norm in norms:
            yield f"{norm}.weight", (HIDDEN,)
            yield f"{norm}.bias", (HIDDEN,)
        for layer in range(LAYERS):
            name = f"model.{side}.layers.{layer}"
            for attention in ["self_attn"] if side == "encoder" else ["self_attn", "encoder_attn"]:
                for part in ("q", "k", "v", "out"):
                    yield f"{name}.{attention}.{part}_proj.weight", (HIDDEN, HIDDEN)
                    if part != "k":
                        yield f"{name}.{attention}.{part}_proj.bias", (HIDDEN,)
            yield f"{name}.fc1.weight", (INNER, HIDDEN)
            yield f"{name}.fc1.bias", (INNER,)
            yield f"{name}.fc2.weight", (HIDDEN, INNER)
            yield f"{name}.fc2.bias", (HIDDEN,)


def renamed(name):
    """A name of a checkpoint on the hub as that of the authors."""
    name = name.removeprefix("model.")
    if name.endswith("embed_positions.weight"):
        return "decoder.positional_embedding"
    for old, new in (
        ("embed_tokens", "token_embedding"), ("layers", "blocks"), ("encoder_attn_layer_norm", "cross_attn_ln"),
        ("self_attn_layer_norm", "attn_ln"), ("final_layer_norm", "mlp_ln"), ("encoder_attn", "cross_attn"),
        ("self_attn", "attn"), ("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out"),
        ("fc1", "mlp.0"), ("fc2", "mlp.2"), ("encoder.layer_norm", "encoder.ln_post"), ("decoder.layer_norm", "decoder.ln"),
    ):
        name = name.replace(old, new)
    return name


def model(seed, vocabulary):
    numbers = RandomWeights(seed)
    own = Whisper(ModelDimensions(80, 1500, HIDDEN, HEADS, LAYERS, vocabulary, POSITIONS, HIDDEN, HEADS, LAYERS)).eval()
    left = own.load_state_dict({renamed(n): weight(numbers, n, s) for n, s in shapes(vocabulary)}, strict=False)
    assert not left.unexpected_keys and left.missing_keys == ["encoder.positional_embedding"], left
    return own


def sound(seconds, which):
    i = np.arange(int(16000 * seconds), dtype=np.float64)
    changing = np.sin(i * (0.02 + 0.01 * which) * (1 + np.floor(i / 52000) % 5))
    return (0.3 * changing + 0.2 * np.sin(i * i * 1e-7 * (1 + which)) * (np.floor(i / 23000) % 2)).astype(np.float32)


def heard(own, samples, **more):
    result = transcribe(
        own, samples, verbose=None, temperature=0.0, compression_ratio_threshold=None, logprob_threshold=None,
        no_speech_threshold=None, fp16=False, **more,
    )
    parts = [
        {"start": round(100 * part["start"]), "end": round(100 * part["end"]),
         "tokens": [token for token in part["tokens"] if token < special["end"]]}
        for part in result["segments"] if part["tokens"]
    ]
    return {"seeks": sorted({part["seek"] for part in result["segments"]}), "language": result["language"], "parts": parts}


special = {}
cases = []
for seed, vocabulary in ((3, 51865), (4, 51865), (5, 51864)):
    own = model(seed, vocabulary)
    task = DecodingTask(own, DecodingOptions(language="en", fp16=False))
    special["end"] = task.tokenizer.eot
    suppressed = list(task._get_suppress_tokens())
    for which, (seconds, more) in enumerate([
        (75.3, {}), (31.0, {"condition_on_previous_text": False}),
        (62.0, {"initial_prompt": "Lima, Quito", "task": "translate", "language": "de"} if own.is_multilingual
         else {"initial_prompt": "Lima, Quito"}),
    ]):
        case = heard(own, sound(seconds, which), **more)
        begin = task.tokenizer.encode(" " + more["initial_prompt"]) if "initial_prompt" in more else []
        language = task.tokenizer.to_language_token(case["language"]) if own.is_multilingual else None
        cases.append({
            "seed": seed, "vocabulary": vocabulary, "suppressed": suppressed, "which": which, "seconds": seconds,
            "asked": "language" in more, "translate": more.get("task") == "translate", "begin": begin,
            "previous": more.get("condition_on_previous_text", True), **case, "language": language,
        })
        print(seed, which, case["seeks"], case["language"], len(case["parts"]))
path = Path(__file__).with_name("transcribe_reference.json")
path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
