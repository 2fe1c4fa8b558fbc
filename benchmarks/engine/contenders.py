"""Who is measured: the packed engine, and the ways in which others run the same cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch

from promptopt.contracts.model import Failure, Likelihood
from promptopt.models import _kernels
from promptopt.models._batch import Job, Pair
from promptopt.models._network import FORWARD_TOKENS, Network, room
from promptopt.models._packed import PackedEngine

BATCH = 16
PATIENCE = 60.0
"""Seconds that continuous batching may take."""


class Ids:
    """Stands for a tokenizer: the text is the ids."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        return " ".join(map(str, ids))


def packed(model: Any) -> PackedEngine:
    network = Network(model, Ids())
    limit = room(network)
    return PackedEngine(network, limit, min(limit, FORWARD_TOKENS[model.device.type == "cpu"]))


def ours(model: Any, pairs: Sequence[Pair]) -> list[float]:
    return values(dict(packed(model).score(pairs, lambda _: True)), pairs)


def unaided(model: Any, pairs: Sequence[Pair]) -> list[float]:
    """Score pairs as we do where there is no C compiler."""
    loaded = _kernels.loaded
    _kernels.loaded = lambda: None  # type: ignore[assignment]
    try:
        return ours(model, pairs)
    finally:
        _kernels.loaded = loaded


def values(found: Mapping[Pair, Likelihood | Failure], pairs: Sequence[Pair]) -> list[float]:
    failures = [found[pair] for pair in pairs if isinstance(found[pair], Failure)]
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(pairs)} cells failed: {failures[0]}")
    return [found[pair].logprob for pair in pairs]


@torch.inference_mode()
def loop(model: Any, pairs: Sequence[Pair]) -> list[float]:
    """One forward an option."""
    return [_padded(model, [pair])[0] for pair in pairs]


@torch.inference_mode()
def padded(model: Any, pairs: Sequence[Pair]) -> list[float]:
    """Padded batches in the given order."""
    return [v for at in range(0, len(pairs), BATCH) for v in _padded(model, pairs[at : at + BATCH])]


def _padded(model: Any, pairs: Sequence[Pair]) -> list[float]:
    width = max(len(pair.prompt) + len(pair.continuation) for pair in pairs)
    rows = [[*pair.prompt, *pair.continuation] for pair in pairs]
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits
    sums = []
    for row, pair in zip(logits, pairs, strict=True):
        begin = len(pair.prompt) - 1
        sums.append(_sum(row[begin : begin + len(pair.continuation)], pair))
    return torch.stack(sums).tolist()  # type: ignore[no-any-return]


def _sum(logits: torch.Tensor, pair: Pair) -> torch.Tensor:
    targets = torch.tensor(pair.continuation, device=logits.device)
    return logits.float().log_softmax(-1).gather(-1, targets[:, None]).sum()


@torch.inference_mode()
def ranked(model: Any, pairs: Sequence[Pair], batch: int) -> list[float]:
    """Padded batches of similar length, with the logits of the last positions alone."""
    order = sorted(range(len(pairs)), key=lambda k: len(pairs[k].prompt) + len(pairs[k].continuation))
    found = [0.0] * len(pairs)
    for at in range(0, len(order), batch):
        here = [pairs[k] for k in order[at : at + batch]]
        rows = [[*pair.prompt, *pair.continuation] for pair in here]
        ids, mask = left_padded(rows, model.device)
        keep = max(len(pair.continuation) for pair in here) + 1
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False, logits_to_keep=keep,
        ).logits  # fmt: skip
        sums = [
            _sum(row[-1 - len(pair.continuation) : -1], pair) for row, pair in zip(logits, here, strict=True)
        ]
        for k, value in zip(order[at : at + batch], torch.stack(sums).tolist(), strict=True):
            found[k] = value
    return found


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask `[rows, tokens]`."""
    width = max(map(len, rows))
    pads = [width - len(row) for row in rows]
    ids = [[0] * pad + list(row) for pad, row in zip(pads, rows, strict=True)]
    mask = [[0] * pad + [1] * (width - pad) for pad in pads]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


class Harness:
    """lm-evaluation-harness' Hugging Face backend, where it is installed."""

    def __init__(self, model: Any) -> None:
        from lm_eval.models.huggingface import HFLM

        self._lm = HFLM(pretrained=model, tokenizer=word_tokenizer(model), batch_size=BATCH)

    @staticmethod
    def installed() -> bool:
        return find_spec("lm_eval") is not None

    def __call__(self, pairs: Sequence[Pair]) -> list[float]:
        requests = [
            ((str(p.prompt), str(p.continuation)), list(p.prompt), list(p.continuation)) for p in pairs
        ]
        return [value for value, _ in self._lm._loglikelihood_tokens(requests, disable_tqdm=True)]


def word_tokenizer(model: Any) -> Any:
    """Return a tokenizer with one word a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {str(token): token for token in range(model.config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="0", eos_token="2", unk_token="0", bos_token="1"
    )


def our_tokens(model: Any, jobs: Sequence[Job]) -> list[list[int]]:
    found = dict(packed(model).complete(jobs, lambda _: True))
    failures = [found[job] for job in jobs if isinstance(found[job], Failure)]
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(jobs)} jobs failed: {failures[0]}")
    return [[int(token) for token in found[job].text.split()] for job in jobs]


@torch.inference_mode()
def generate(model: Any, jobs: Sequence[Job], batch: int = BATCH) -> list[list[int]]:
    """transformers' `generate`: left-padded batches, each as long as its longest reply."""
    replies = []
    for at in range(0, len(jobs), batch):
        here = jobs[at : at + batch]
        ids, mask = left_padded([job.prompt for job in here], model.device)
        out = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, eos_token_id=None, pad_token_id=0,
            max_new_tokens=max(job.decoding.max_tokens for job in here),
        )[:, ids.shape[1] :].tolist()  # fmt: skip
        replies += [row[: job.decoding.max_tokens] for row, job in zip(out, here, strict=True)]
    return replies


@contextmanager
def continuous(
    model: Any, prompt: int, reply: int, jobs: int
) -> Iterator[Callable[[Sequence[Job]], list[list[int]]]]:
    """Start transformers' continuous batching for jobs of up to these lengths; yield what runs jobs."""
    from transformers import ContinuousBatchingConfig, GenerationConfig
    from transformers.generation.continuous_batching.utils import WorkloadHints

    gpu = model.device.type == "cuda"
    if gpu:
        torch.cuda.empty_cache()  # it takes what is free
    # Without a limit it takes all of a CPU's memory.
    config = ContinuousBatchingConfig(**({} if gpu else {"num_blocks": 64, "max_batch_tokens": 1024}))
    with model.continuous_batching_context_manager(
        generation_config=GenerationConfig(
            max_new_tokens=reply, do_sample=False, eos_token_id=-1, pad_token_id=0
        ),
        continuous_batching_config=config,
        workload_hints=WorkloadHints(max_prompt_length=prompt, max_generated_length=reply, num_requests=jobs),
        timeout=5,
    ) as manager:

        def run(jobs: Sequence[Job]) -> list[list[int]]:
            keys = [
                manager.add_request(list(job.prompt), max_new_tokens=job.decoding.max_tokens) for job in jobs
            ]
            if None in keys:
                raise RuntimeError("continuous batching takes no requests")
            replies: dict[str, list[int]] = {}
            deadline = time.monotonic() + PATIENCE
            while len(replies) < len(jobs):
                result = manager.get_result(timeout=1)
                if result is None and not manager.is_running():
                    raise RuntimeError("continuous batching has stopped")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(replies)} of {len(jobs)} replies after {PATIENCE} seconds")
                if result is not None and result.is_finished():
                    if result.error is not None:
                        raise RuntimeError(result.error)
                    replies[result.request_id] = list(result.generated_tokens)
            return [replies[key] for key in keys]

        yield run
