"""Writes `whisper_reference.json`: features of a sound, and the tokens that the rules of timestamps allow, as the Python package
transformers computes both. Run with transformers, numpy and torch.
"""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from transformers import WhisperFeatureExtractor
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

END, NO_TIMESTAMPS, VOCABULARY = 20, 25, 48

# As `sound` in tests/generation/whisper.rs.
at = np.arange(9600, dtype=np.float64)
sound = 0.3 * np.sin(at * 0.05) + 0.2 * np.sin(at * at * 1e-5) + 0.001 * np.cos(at * 2.9)
features = {}
for bands in (80, 128):
    extractor = WhisperFeatureExtractor(feature_size=bands, chunk_length=1)
    got = extractor(sound.astype(np.float32), sampling_rate=16000, return_tensors="np").input_features[0]
    features[str(bands)] = [[round(float(x), 5) for x in got[:, frame]] for frame in range(0, 100, 9)]

random.seed(4)
rules = []
for case in range(80):
    times = sorted(random.randrange(NO_TIMESTAMPS + 1, VOCABULARY) for _ in range(6))
    history = []
    for i in range(random.randrange(0, 4)):
        history += [times[i]] * random.choice([1, 2]) + [random.randrange(END) for _ in range(random.randrange(0, 3))]
    spread = random.choice([1.0, 4.0])
    logits = [round(random.gauss(0, spread), 2) for _ in range(VOCABULARY)]
    latest = random.choice([None, 5])
    config = SimpleNamespace(
        no_timestamps_token_id=NO_TIMESTAMPS, eos_token_id=END, bos_token_id=END,
        max_initial_timestamp_index=latest, _detect_timestamp_from_logprob=True,
    )
    processor = WhisperTimeStampLogitsProcessor(config, begin_index=3)
    tokens = torch.tensor([[END + 1, END + 2, END + 3, *history]])
    scores = processor(tokens, torch.tensor([logits]))[0]
    allowed = [i for i, score in enumerate(scores.tolist()) if score != float("-inf")]
    rules.append({"generated": history, "logits": logits, "latest": latest, "allowed": allowed})

path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps({"features": features, "rules": rules}, separators=(",", ":")) + "\n")
