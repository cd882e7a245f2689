"""Writes models of random weights, for measurements of speed: no hub is asked, and every size and type can be had.

    random_model.py FOLDER NAME...

NAME is SIZE-TYPE, such as `26m-q8_0`. Sizes: 0.3m, 26m, 100m parameters, about. Types: f16, q8_0, q4_0. A file that is
there is left alone. The same name gives the same weights everywhere.

The architecture is llama. The vocabulary holds bytes, letters and syllables, so that any text can be read; the output
weights of bytes and control tokens are zero, so that greedy answers are words, and end by their length alone.
"""

import itertools
import pathlib
import sys
from typing import NamedTuple

import gguf
import numpy
from gguf import GGMLQuantizationType as Type
from gguf.quants import quantize

VOCABULARY = 512
CONTEXT = 4096
SEED = 1
SPACE = "\u2581"
CONTROL = [("<unk>", gguf.TokenType.UNKNOWN), ("<s>", gguf.TokenType.CONTROL), ("</s>", gguf.TokenType.CONTROL)]
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


class Size(NamedTuple):
    width: int
    layers: int
    heads: int
    hidden: int


SIZES = {"0.3m": Size(64, 2, 4, 160), "26m": Size(512, 8, 8, 1408), "100m": Size(768, 14, 12, 2048)}
TYPES = {
    "f16": (Type.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (Type.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}


def pieces() -> list[str]:
    """The ordinary tokens: letters and syllables, with and without a space before them."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    syllables = ["".join(pair) for pair in itertools.product("bcdfghlmnprstvwz", "aeiouy")]
    words = [SPACE, *letters, *(SPACE + letter for letter in letters), *syllables]
    words += [SPACE + syllable for syllable in syllables] + list(".,?!0123456789")
    return words


def vocabulary() -> tuple[list[bytes], list[float], list[int], int]:
    """Tokens, scores, types, and how many of them are never written."""
    entries = [(name.encode(), 0.0, kind) for name, kind in CONTROL]
    entries += [(f"<0x{byte:02X}>".encode(), 0.0, gguf.TokenType.BYTE) for byte in range(256)]
    silent = len(entries)
    room = VOCABULARY - silent
    filler = (f"{SPACE}w{number}" for number in itertools.count())
    words = list(itertools.islice(itertools.chain(pieces(), filler), room))
    entries += [(word.encode(), -float(rank), gguf.TokenType.NORMAL) for rank, word in enumerate(words)]
    tokens, scores, kinds = zip(*entries)
    return list(tokens), list(scores), list(kinds), silent


def write(path: pathlib.Path, size: Size, kind: str) -> None:
    """Writes one model, first under another name, so that half a file never has the right one."""
    random = numpy.random.default_rng(SEED)
    tensor_type, file_type = TYPES[kind]
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    tokens, scores, kinds, silent = vocabulary()
    describe(writer, path.stem, size, file_type)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(TEMPLATE)

    def matrix(name: str, rows: int, columns: int, deviation: float, zeros: int = 0) -> None:
        weights = random.standard_normal((rows, columns), dtype=numpy.float32) * numpy.float32(deviation)
        weights[:zeros] = 0
        if tensor_type == Type.F16:
            writer.add_tensor(name, weights.astype(numpy.float16))
        else:
            writer.add_tensor(name, quantize(weights, tensor_type), raw_dtype=tensor_type)

    def ones(name: str) -> None:
        writer.add_tensor(name, numpy.ones(size.width, numpy.float32))

    usual, hidden = size.width**-0.5, size.hidden**-0.5
    matrix("token_embd.weight", VOCABULARY, size.width, 1.0)
    ones("output_norm.weight")
    matrix("output.weight", VOCABULARY, size.width, 0.05, zeros=silent)
    for layer in range(size.layers):
        block = f"blk.{layer}"
        ones(f"{block}.attn_norm.weight")
        ones(f"{block}.ffn_norm.weight")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{block}.{name}.weight", size.width, size.width, usual)
        matrix(f"{block}.ffn_gate.weight", size.hidden, size.width, usual)
        matrix(f"{block}.ffn_up.weight", size.hidden, size.width, usual)
        matrix(f"{block}.ffn_down.weight", size.width, size.hidden, hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(path)


def describe(writer: gguf.GGUFWriter, name: str, size: Size, file_type: gguf.LlamaFileType) -> None:
    """Writes what the model is."""
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(size.width)
    writer.add_block_count(size.layers)
    writer.add_feed_forward_length(size.hidden)
    writer.add_head_count(size.heads)
    writer.add_head_count_kv(size.heads)
    writer.add_rope_dimension_count(size.width // size.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:]:
        size, _, kind = name.partition("-")
        if size not in SIZES or kind not in TYPES:
            sys.exit(f"{name} is no model; sizes: {', '.join(SIZES)}; types: {', '.join(TYPES)}")
        path = folder / f"{name}.gguf"
        if not path.exists():
            write(path, SIZES[size], kind)


main()
