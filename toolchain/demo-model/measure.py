"""Held-out accuracy: an answer counts only if greedy decoding would write it exactly.

Under teacher forcing that is so when each token of the answer is the likeliest after the right ones before it,
therefore one forward pass settles all answers of a batch.
"""

from __future__ import annotations

from collections import defaultdict
from random import Random

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from batches import LONG_ROW, fill_rows, pack, sequences
from language import Document, Language
from model import Parameters, Shape, logits
from tasks import TASKS

ROWS = 8


def held_out_documents(seed: int, per_task: int) -> list[Document]:
    language = Language(Random(seed), held_out=True)
    documents = [language.single(task) for task in TASKS for _ in range(per_task)]
    for _ in range(per_task):
        documents += [language.conversation(3), language.memory(), language.plain_text()]
    documents += [language.system_prompt() for _ in range(3 * per_task)]
    return documents


def accuracy(shape: Shape, parameters: Parameters, tokenizer: Tokenizer, seed: int, per_task: int,
             misses: list[str] | None = None) -> dict[str, float]:
    """The share of right answers per task and `overall`, and the smallest margins of right ones, in logits."""
    @jax.jit
    def judge(parameters: Parameters, tokens: jax.Array, documents: jax.Array, positions: jax.Array) -> tuple:
        scores = logits(shape, parameters, tokens, documents, positions, jnp.matmul)[:, :-1]
        best, index = jax.lax.top_k(scores, 2)
        return index[..., 0] == tokens[:, 1:], best[..., 0] - best[..., 1]

    pool = sequences(tokenizer, held_out_documents(seed, per_task))
    outcomes: dict[str, list[bool]] = defaultdict(list)
    margins: list[float] = []
    while pool:
        rows = fill_rows(pool, ROWS, LONG_ROW)
        batch = pack(rows, LONG_ROW)
        right, margin = (np.asarray(a) for a in judge(parameters, jnp.asarray(batch.tokens),
                                                      jnp.asarray(batch.documents), jnp.asarray(batch.positions)))
        for r, row in enumerate(rows):
            for d, sequence in enumerate(row):
                where = (batch.documents[r, 1:] == d) & batch.scored[r, 1:]
                good = bool(right[r][where].all())
                outcomes[sequence.task].append(good)
                if good:
                    margins.append(float(margin[r][where].min()))
                elif misses is not None:
                    misses.append(f"{sequence.task}: {tokenizer.decode(sequence.tokens, skip_special_tokens=False)!r}")
    result = {task: round(float(np.mean(hits)), 4) for task, hits in outcomes.items()}
    result["overall"] = round(float(np.mean([hit for hits in outcomes.values() for hit in hits])), 4)
    result["margin, 1st percentile"] = round(float(np.percentile(margins or [0.0], 1)), 2)
    return result
