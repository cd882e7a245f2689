"""Documents become rows of tokens: several short documents share a row, none is cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from tokenizers import Tokenizer

from language import Document, Language

SHORT_ROW, LONG_ROW = 128, 512
"""Most documents fit a short row, which spares attention; the others go to long rows, up to the whole context."""
BATCH_TOKENS = 4096
LONG_EVERY = 4
"""Each so many batches, one has long rows."""


@dataclass(frozen=True)
class Sequence:
    """A tokenised document, with a weight and a score flag for each token as a thing to predict."""

    task: str
    tokens: list[int]
    weights: list[float]
    scored: list[bool]


@dataclass(frozen=True)
class Batch:
    """Arrays of (rows, length). `documents` numbers the documents of a row from 0, and is -1 in the padding."""

    tokens: np.ndarray
    documents: np.ndarray
    positions: np.ndarray
    weights: np.ndarray
    scored: np.ndarray


def length_weight(tokens: int) -> float:
    """Without this the few long stories would outweigh the many sums of one or two digits."""
    return min(3.0, max(0.4, (16 / tokens) ** 0.5))


def sequences(tokenizer: Tokenizer, documents: list[Document]) -> list[Sequence]:
    """Tokenise. Segments meet where the pre-tokenizer splits anyway, so this equals tokenising the whole text."""
    encoded = iter(tokenizer.encode_batch_fast([s.text for d in documents for s in d.segments]))
    result = []
    for document in documents:
        sequence = Sequence(document.task, [], [], [])
        for segment in document.segments:
            ids = next(encoded).ids
            sequence.tokens.extend(ids)
            weight = segment.weight * length_weight(len(ids)) if segment.scored else segment.weight
            sequence.weights.extend([weight] * len(ids))
            sequence.scored.extend([segment.scored] * len(ids))
        result.append(sequence)
    return result


def pack(rows: list[list[Sequence]], length: int) -> Batch:
    shape = (len(rows), length)
    batch = Batch(np.zeros(shape, np.int32), np.full(shape, -1, np.int32), np.zeros(shape, np.int32),
                  np.zeros(shape, np.float32), np.zeros(shape, bool))
    for r, row in enumerate(rows):
        start = 0
        for d, sequence in enumerate(row):
            end = start + len(sequence.tokens)
            batch.tokens[r, start:end] = sequence.tokens
            batch.documents[r, start:end] = d
            batch.positions[r, start:end] = range(end - start)
            batch.weights[r, start:end] = sequence.weights
            batch.scored[r, start:end] = sequence.scored
            start = end
    return batch


def fill_rows(pool: list[Sequence], count: int, length: int) -> list[list[Sequence]]:
    """Take sequences off the end of `pool` into rows; what does not fit any row goes back to its front."""
    rows: list[list[Sequence]] = [[] for _ in range(count)]
    room = [length] * count
    left: list[Sequence] = []
    while pool and len(left) < 20:
        sequence = pool.pop()
        fitting = next((r for r in range(count) if room[r] >= len(sequence.tokens)), None)
        if fitting is None:
            left.append(sequence)
            continue
        rows[fitting].append(sequence)
        room[fitting] -= len(sequence.tokens)
    pool[:0] = left
    return rows


def training_batches(tokenizer: Tokenizer, seed: int) -> Iterator[Batch]:
    """An endless stream of fresh documents; the same for the same seed."""
    language = Language(Random(seed), held_out=False)
    short: list[Sequence] = []
    long: list[Sequence] = []
    step = 0
    while True:
        if len(short) < 1000:
            fresh = sequences(tokenizer, [language.document() for _ in range(4000)]
                              + [language.long_document() for _ in range(80)])
            short[:0] = [s for s in fresh if len(s.tokens) <= SHORT_ROW]
            long[:0] = [s for s in fresh if SHORT_ROW < len(s.tokens) <= LONG_ROW]
        step += 1
        if step % LONG_EVERY or len(long) < 100:
            yield pack(fill_rows(short, BATCH_TOKENS // SHORT_ROW, SHORT_ROW), SHORT_ROW)
        else:
            rows = fill_rows(long, BATCH_TOKENS // LONG_ROW, LONG_ROW)
            yield pack([row + fill_rows(short, 1, LONG_ROW - sum(len(s.tokens) for s in row))[0] for row in rows],
                       LONG_ROW)
