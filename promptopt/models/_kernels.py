"""What lies between a layer's matrix products, in one pass over memory each: kernels for the CPU, in C.

They are compiled when they are first needed. Without a C compiler, and for whatever they do not cover,
torch's operations do the same work in more passes: who calls one of these asks `fit` or `attends` first.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ._compiled import library

SWITCH = "PROMPTOPT_KERNELS"
"""The environment variable that turns the kernels off, if it is `off`."""
SOURCE = Path(__file__).with_name("kernels.c")
HALF = {torch.float32: 0, torch.bfloat16: 1}
LANES, BLOCK = 16, 32
"""What a width has to be a multiple of; a head's."""
GRAIN = 1 << 15
"""From so many numbers on it is worth waking threads."""

Places = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
"""Where each query stands among the keys, ascending; the first key that it sees; one past the last position
that sees each key."""


class Above(ctypes.Structure):
    """Keys and values that the queries `low` to `high` see all of."""

    _fields_ = (
        *((name, c_int64) for name in ("low", "high", "count")),
        *((name, c_void_p) for name in ("keys", "values")),
        *((name, c_int64) for name in ("token", "head")),
    )

    @classmethod
    def of(cls, low: int, high: int, keys: torch.Tensor, values: torch.Tensor) -> Above:
        """Describe keys and values `[1, heads, tokens, width]`, laid out alike."""
        _, head, token, _ = keys.stride()
        return cls(low, high, keys.shape[2], keys.data_ptr(), values.data_ptr(), token, head)


class _Work(ctypes.Structure):
    _fields_ = (
        *((name, c_int64) for name in ("queries", "heads", "kv_heads", "width", "keys")),
        *((name, c_void_p) for name in ("query", "key", "value")),
        *((name, c_int64) for name in ("query_token", "key_token", "value_token")),
        *((name, c_void_p) for name in ("out", "positions", "begins", "ends")),
        ("branches", c_int64),
        ("above", POINTER(Above)),
        ("scale", c_float),
    )


@cache
def loaded() -> ctypes.CDLL | None:
    """Return the kernels, or None."""
    if os.environ.get(SWITCH) == "off":
        return None
    found = library(SOURCE)
    if found is not None:
        shape = [c_int64, c_int64]
        found.norm.argtypes = [c_int, c_void_p, c_void_p, c_void_p, *shape, c_float, c_int]
        found.gate.argtypes = [c_int, c_void_p, c_void_p, *shape, c_int]
        found.turn.argtypes = [c_int, c_void_p, c_void_p, c_void_p, *shape, c_int64, c_int]
        found.total.argtypes = [c_int, c_void_p, c_void_p, *shape, c_int]
        found.attend.argtypes = [c_int, POINTER(_Work), c_int]
    return found


def fit(*states: torch.Tensor, width: int = LANES) -> bool:
    """Return whether the kernels take states: alike, on the CPU, of rows of a multiple of `width` numbers.

    They keep no gradients: what wants one is not taken.
    """
    dtype = states[0].dtype
    if dtype not in HALF or loaded() is None:
        return False
    for given in states:
        if given.dtype != dtype or given.shape[-1] % width or given.device.type != "cpu":
            return False
        if given.requires_grad or not given.is_contiguous():
            return False
    return True


def normed(states: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Divide by the root mean square over the last dimension; scale by the weights."""
    out, width = torch.empty_like(states), states.shape[-1]
    _call("norm", states, out, states, weight, states.numel() // width, width, epsilon)
    return out


def gated(inner: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Multiply `silu(inner)` by `up`, each `[T, width]`, in place."""
    _call("gate", inner, inner, up, *inner.shape)
    return inner


def turned(states: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotate features `i` and `i + width / 2` of `[T, heads, width]` by angles `[T, 1, width]`, in place."""
    _call("turn", states, states, cosine, sine, *states.shape)
    return states


def totals(logits: torch.Tensor) -> torch.Tensor:
    """Return the logarithms of the sums of exponentials of `[rows, vocabulary]`, in float32."""
    out = torch.empty(len(logits))
    _call("total", logits, out, logits, *logits.shape)
    return out


def _call(name: str, like: torch.Tensor, *given: torch.Tensor | float) -> None:
    """Call a kernel for states of one kind, with as many threads as it is worth."""
    values = [value.data_ptr() if isinstance(value, torch.Tensor) else value for value in given]
    getattr(loaded(), name)(HALF[like.dtype], *values, _threads(like.numel()))


def _threads(numbers: int) -> int:
    return torch.get_num_threads() if numbers >= GRAIN else 1


@cache
def _tiled() -> bool:
    found = loaded()
    return found is not None and bool(found.tiled())


def attends(query: torch.Tensor) -> bool:
    """Return whether the kernel attends from such queries; in bfloat16, it needs a processor with AMX."""
    return (
        query.device.type == "cpu"
        and query.dtype in HALF
        and query.shape[-1] % BLOCK == 0
        and not query.requires_grad
        and loaded() is not None
        and (query.dtype == torch.float32 or _tiled())
    )


def attended(
    states: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    places: Places,
    above: Sequence[Above],
    scale: float,
) -> torch.Tensor:
    """Attend from queries to the keys of a pack that they see, and to branches above it.

    Args:
        states: queries, keys and values, each `[T, heads, width]`, the heads of a token side by side.
        places: who sees whom.
        above: what ranges of queries see beyond that.
        scale: of the products.

    Returns:
        `[queries, heads, width]`.
    """
    query, key, value = (
        given if given.stride()[1:] == (given.shape[2], 1) else given.contiguous() for given in states
    )
    out = torch.empty(query.shape, dtype=query.dtype)
    work = _Work(
        *(len(query), query.shape[1], key.shape[1], query.shape[2], len(key)),
        *(given.data_ptr() for given in (query, key, value)),
        *(given.stride(0) for given in (query, key, value)),
        out.data_ptr(),
        *(given.ctypes.data for given in places),
        *(len(above), (Above * len(above))(*above), scale),
    )
    found = loaded()
    assert found is not None
    if not found.attend(HALF[query.dtype], ctypes.byref(work), _threads(query.numel())):
        raise torch.OutOfMemoryError("no memory to lay out keys and values")
    return out
