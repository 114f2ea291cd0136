"""Writes `config_defaults.json`: for each family of decoders the `config.json` that the Python package transformers writes of its
class with sizes alone, and what of this file is not usual for the class, as the published files of Gemma 3 have it. Run with
transformers 5.
"""

import json
from pathlib import Path

import transformers

SIZES = dict(vocab_size=61, hidden_size=64, intermediate_size=48, num_hidden_layers=7)
HEADS = dict(num_attention_heads=16, num_key_value_heads=8)
FAMILIES = {
    "Llama": HEADS, "Mistral": dict(num_attention_heads=16), "Qwen2": HEADS, "Qwen3": HEADS, "Phi3": HEADS, "Gemma2": {},
    "Gemma3Text": {}, "SmolLM3": dict(num_attention_heads=16),
}
# Windows are there and nothing of them is stated.
WINDOWS = {"Qwen2": dict(use_sliding_window=True), "Qwen3": dict(use_sliding_window=True)}
ENDS = dict(eos_token_id=None, bos_token_id=None, pad_token_id=None)


def pair(family, own):
    own = SIZES | own | WINDOWS.get(family, {}) | ENDS
    whole = json.loads(getattr(transformers, f"{family}Config")(**own).to_json_string(use_diff=False))
    return {"few": {"model_type": whole["model_type"]} | own, "whole": whole}


found = [pair(family, own) for family, own in FAMILIES.items()]
lines = ",\n".join(json.dumps(value, separators=(",", ":")) for value in found)
Path(__file__).with_suffix(".json").write_text(f"[\n{lines}\n]\n")
