"""The demo model: a small decoder of the llama architecture in JAX.

The order of the operations and the interleaved pairs of RoPE are those of llama.cpp's `llama` architecture, so
that the weights are exported as they are, but for the transpose of `stored`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

Parameters = dict[str, jax.Array]
Multiply = Callable[[jax.Array, jax.Array], jax.Array]
EMBEDDING = "token_embd"


@dataclass(frozen=True)
class Shape:
    """The sizes of the model; `context` is the longest sequence that it is trained on."""

    vocabulary: int
    width: int = 192
    layers: int = 4
    heads: int = 3
    feed_forward: int = 512
    context: int = 512
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads


def initial(shape: Shape, seed: int) -> Parameters:
    """Random parameters under their GGUF tensor names; matrices are (inputs, outputs), which XLA multiplies fastest."""
    key = jax.random.key(seed)
    parameters: Parameters = {}

    def matrix(name: str, rows: int, columns: int, deviation: float) -> None:
        nonlocal key
        key, own = jax.random.split(key)
        parameters[name + ".weight"] = jax.random.normal(own, (rows, columns)) * deviation

    width, ffn = shape.width, shape.feed_forward
    matrix(EMBEDDING, shape.vocabulary, width, 0.02)
    residual = 0.02 / (2 * shape.layers) ** 0.5
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v"):
            matrix(block + name, width, width, width ** -0.5)
        matrix(block + "attn_output", width, width, residual)
        matrix(block + "ffn_gate", width, ffn, width ** -0.5)
        matrix(block + "ffn_up", width, ffn, width ** -0.5)
        matrix(block + "ffn_down", ffn, width, residual)
        parameters[block + "attn_norm.weight"] = jnp.ones(width)
        parameters[block + "ffn_norm.weight"] = jnp.ones(width)
    parameters["output_norm.weight"] = jnp.ones(width)
    matrix("output", width, shape.vocabulary, 0.02)
    return parameters


def stored(parameters: Parameters) -> dict[str, np.ndarray]:
    """The parameters as GGUF has them: matrices as (outputs, inputs) in f16, norms in f32."""
    return {name: np.asarray(value, np.float32) if value.ndim == 1
            else np.asarray(value if name == EMBEDDING + ".weight" else value.T, np.float16)
            for name, value in parameters.items()}


def rounded(parameters: Parameters) -> Parameters:
    """The parameters with the precision of `stored`, in f32."""
    return {name: value if value.ndim == 1 else jnp.asarray(np.asarray(value, np.float16), jnp.float32)
            for name, value in parameters.items()}


def logits(shape: Shape, parameters: Parameters, tokens: jax.Array, documents: jax.Array, positions: jax.Array,
           multiply: Multiply) -> jax.Array:
    """Next-token logits of rows that hold several documents each; no document sees another.

    All three inputs are (rows, length); `positions` count from 0 within each document.
    """
    x = parameters["token_embd.weight"][tokens]
    cosine, sine = _angles(shape, positions)
    length = tokens.shape[1]
    visible = (documents[:, :, None] == documents[:, None, :]) & jnp.tril(jnp.ones((length, length), bool))
    bias = jnp.where(visible, 0.0, -1e9)[:, None]
    for layer in range(shape.layers):
        def weight(name: str, block: str = f"blk.{layer}.") -> jax.Array:
            return parameters[block + name + ".weight"]

        h = _norm(x, weight("attn_norm"), shape.norm_epsilon)
        joined = jnp.concatenate([weight("attn_q"), weight("attn_k"), weight("attn_v")], axis=1)
        q, k, v = (_heads(shape, part) for part in jnp.split(multiply(h, joined), 3, axis=-1))
        q, k = _rotate(q, cosine, sine), _rotate(k, cosine, sine)
        scores = multiply(q * shape.head_width ** -0.5, k.swapaxes(-1, -2))
        mixed = multiply(jax.nn.softmax(scores + bias, axis=-1), v)
        x = x + multiply(mixed.swapaxes(1, 2).reshape(x.shape), weight("attn_output"))
        h = _norm(x, weight("ffn_norm"), shape.norm_epsilon)
        gate, up = jnp.split(multiply(h, jnp.concatenate([weight("ffn_gate"), weight("ffn_up")], axis=1)), 2, axis=-1)
        x = x + multiply(jax.nn.silu(gate) * up, weight("ffn_down"))
    return multiply(_norm(x, parameters["output_norm.weight"], shape.norm_epsilon), parameters["output.weight"])


@jax.custom_vjp
def multiply_fast(a: jax.Array, b: jax.Array) -> jax.Array:
    """Matrix product of values rounded to bf16, summed in f32: several times faster on processors with AMX."""
    return jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)


def _multiply_forward(a: jax.Array, b: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return jnp.matmul(a, b, preferred_element_type=jnp.float32), (a, b)


def _multiply_backward(saved: tuple[jax.Array, jax.Array], slope: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = saved
    slope = slope.astype(jnp.bfloat16)
    # Without the barrier XLA folds the transpose into the product, and leaves its fast path.
    to_a = jnp.matmul(slope, jax.lax.optimization_barrier(b.swapaxes(-1, -2)), preferred_element_type=jnp.float32)
    if b.ndim > 2:
        return to_a, jnp.matmul(a.swapaxes(-1, -2), slope, preferred_element_type=jnp.float32)
    return to_a, jnp.tensordot(a, slope, ((0, 1), (0, 1)), preferred_element_type=jnp.float32)


multiply_fast.defvjp(_multiply_forward, _multiply_backward)


def _norm(x: jax.Array, weight: jax.Array, epsilon: float) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def _heads(shape: Shape, x: jax.Array) -> jax.Array:
    return x.reshape(*x.shape[:2], shape.heads, shape.head_width).swapaxes(1, 2)


def _angles(shape: Shape, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    frequencies = shape.rope_base ** (-jnp.arange(0, shape.head_width, 2) / shape.head_width)
    angles = positions[:, None, :, None] * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def _rotate(x: jax.Array, cosine: jax.Array, sine: jax.Array) -> jax.Array:
    """RoPE on neighbouring pairs, which llama.cpp calls the `norm` kind."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1).reshape(x.shape)
