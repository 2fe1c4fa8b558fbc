"""A loaded model and its tokenizer, and what both of its engines share.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from ..contracts.model import Completion, Failure, Likelihood
from ..records import Usage
from ._batch import MAX_LOGITS, Job, Pair
from ._virtual import VirtualTokens

FORWARD_TOKENS = {True: 1024, False: 16384}
"""Most tokens of one forward of the packed engine, on the CPU (to stay in its caches) and elsewhere."""
BATCH_TOKENS = {True: 4096, False: 32768}
"""Most tokens of a batch, on the CPU and elsewhere."""

Item = TypeVar("Item", bound=Job | Pair)
Outcome = TypeVar("Outcome")


class Engine(Protocol):
    """Runs a model over jobs and pairs, in an order of its own.

    `admit` is asked once for each, before it is computed; what is not admitted is left out.
    """

    def complete(
        self, jobs: Sequence[Job], admit: Callable[[Job], bool]
    ) -> Generator[tuple[Job, Completion | Failure]]:
        """Yield the completions as they finish."""
        ...

    def score(
        self, pairs: Sequence[Pair], admit: Callable[[Pair], bool]
    ) -> Generator[tuple[Pair, Likelihood | Failure]]:
        """Yield the log-probabilities as they are computed."""
        ...


@dataclass(frozen=True)
class Network:
    """A causal language model.

    Attributes:
        model: of transformers, in evaluation mode.
        tokenizer: turns its tokens into text.
        virtual: the soft prompts it has met.
    """

    model: Any
    tokenizer: Any
    virtual: VirtualTokens = field(default_factory=VirtualTokens)

    def text(self, ids: Sequence[int]) -> str:
        """Turn tokens into text, without special ones."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    @cached_property
    def accepted(self) -> frozenset[str]:
        """The names of what the model's forward takes."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device  # type: ignore[no-any-return]

    @cached_property
    def vocabulary(self) -> int:
        """Logits of a position."""
        return int(self.model.config.get_text_config(decoder=True).vocab_size)

    @cached_property
    def scored(self) -> int:
        """Most positions whose logits are computed at once: on a GPU, in an eighth of its free memory."""
        most = MAX_LOGITS
        if self.device.type == "cuda":
            # The logits, their float32 logarithms, and what the kernels between them hold.
            most = max(most, unused(self.device) // 8 // 10)
        return max(1, most // self.vocabulary)


def sent(values: Any, device: torch.device) -> torch.Tensor:
    """Copy an array or a list to a device; a GPU is not waited for."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def likelihood(pair: Pair, value: float) -> Likelihood | Failure:
    """Return the outcome for a sum of log-probabilities."""
    if not math.isfinite(value):
        return Failure("malformed", f"the log-probability is {value}; try dtype float32")
    return Likelihood(min(value, 0.0), len(pair.continuation), Usage(pair.width))


def halving(
    run: Callable[[Sequence[Item]], list[Outcome | Failure]], items: Sequence[Item]
) -> list[Outcome | Failure]:
    """Run a batch; when the device's memory is too small for it, run its halves."""
    if not items:
        return []
    try:
        return run(items)
    except torch.OutOfMemoryError as error:
        if len(items) == 1:
            return [too_large(error)]
    # Outside the handler: the traceback holds on to the tensors of the batch that failed.
    release()
    half = len(items) // 2
    return halving(run, items[:half]) + halving(run, items[half:])


def too_large(error: torch.OutOfMemoryError) -> Failure:
    """Return what became of a request that alone does not fit into memory."""
    return Failure("error", f"out of memory on one request alone: {str(error).splitlines()[0]}")


def unused(device: torch.device) -> int:
    """Return how many bytes of a GPU's memory are free, or held for reuse by this process."""
    held: int = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return held + int(torch.cuda.mem_get_info(device)[0])


def release() -> None:
    """Give cached memory of the device back."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def room(network: Network) -> int:
    """Return how many tokens a batch may hold: on a GPU, as many as fit into a third of its free memory."""
    most = BATCH_TOKENS[network.device.type == "cpu"]
    if network.device.type != "cuda":
        return most
    config = network.model.config.get_text_config(decoder=True)
    # Keys and values of all layers, and about twenty states of one layer while it is computed.
    width = config.hidden_size * (2 * config.num_hidden_layers + 20) * network.model.dtype.itemsize
    fitting: int = unused(network.device) // 3 // width
    return max(1024, min(most, fitting))
