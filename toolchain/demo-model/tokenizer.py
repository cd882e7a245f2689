"""The demo model's byte-level BPE tokenizer.

It splits text with the regular expression that llama.cpp knows as `qwen2`, which takes digits one by one. Merges are
learnt from the ASCII text of the language only: everything else stays single bytes, so that an emoji or a
Chinese character spans several tokens, as it does in large models.
"""

from __future__ import annotations

from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import words as w
from language import SPECIAL_TOKENS, Language

PRE_TOKENIZER = "qwen2"
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
VOCABULARY = 768


def train_tokenizer(seed: int, documents: int = 20_000) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  special_tokens=[AddedToken(t, special=True) for t in SPECIAL_TOKENS],
                                  show_progress=False)
    tokenizer.train_from_iterator(_texts(seed, documents), trainer)
    return tokenizer


def _texts(seed: int, documents: int) -> list[str]:
    language = Language(Random(seed), held_out=False)
    texts = []
    for _ in range(documents):
        for segment in language.document().segments:
            text = segment.text
            for token in SPECIAL_TOKENS:
                text = text.replace(token, "\n")
            if text.isascii():
                texts.append(text)
    # Words that the language uses seldom, and letters standing alone, shall be single tokens too.
    rare = [*w.THINGS, *w.NAMES, *w.CITIES, *w.COLOUR_OF, *w.STORY_ANIMALS, *w.OPPOSITE_OF, *w.LETTERS]
    return texts + [f" {word}" for word in rare] * 40
