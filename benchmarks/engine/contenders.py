"""Who is measured: the packed engine, and the ways in which others run the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch

from promptopt.models._batch import Job, Pair
from promptopt.models._network import BATCH_TOKENS, FORWARD_TOKENS, Network
from promptopt.models._packed import PackedEngine

BATCH = 16


class Ids:
    """Stands for a tokenizer: the text is the ids."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        return " ".join(map(str, ids))


def packed(model: Any) -> PackedEngine:
    cpu = model.device.type == "cpu"
    return PackedEngine(Network(model, Ids()), BATCH_TOKENS[cpu], FORWARD_TOKENS[cpu])


def ours(model: Any, pairs: Sequence[Pair]) -> list[float]:
    found = dict(packed(model).score(pairs, lambda _: True))
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
    values = []
    for row, pair in zip(logits, pairs, strict=True):
        begin = len(pair.prompt) - 1
        logprobs = row[begin : begin + len(pair.continuation)].float().log_softmax(-1)
        targets = torch.tensor(pair.continuation, device=model.device)
        values.append(float(logprobs.gather(-1, targets[:, None]).sum()))
    return values


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
    return [[int(token) for token in found[job].text.split()] for job in jobs]


@torch.inference_mode()
def generate(model: Any, jobs: Sequence[Job]) -> list[list[int]]:
    """transformers' `generate`: left-padded batches, each as long as its longest reply."""
    replies = []
    for at in range(0, len(jobs), BATCH):
        batch = jobs[at : at + BATCH]
        width = max(len(job.prompt) for job in batch)
        pads = [width - len(job.prompt) for job in batch]
        ids = [[0] * pad + list(job.prompt) for pad, job in zip(pads, batch, strict=True)]
        mask = [[0] * pad + [1] * (width - pad) for pad in pads]
        most = max(job.decoding.max_tokens for job in batch)
        out = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=most, do_sample=False, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        replies += [
            row[width : width + job.decoding.max_tokens].tolist() for row, job in zip(out, batch, strict=True)
        ]
    return replies


def continuous(model: Any, jobs: Sequence[Job]) -> list[list[int]]:
    """transformers' continuous batching; its limit on replies is one for all, so jobs go by their limit."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    replies: dict[int, list[int]] = {}
    most = max(job.decoding.max_tokens for job in jobs)
    out = model.generate_batch(
        inputs=[list(job.prompt) for job in jobs],
        generation_config=GenerationConfig(
            max_new_tokens=most, do_sample=False, eos_token_id=-1, pad_token_id=0
        ),
        continuous_batching_config=ContinuousBatchingConfig(num_blocks=256, max_batch_tokens=1024),
    )
    for number, key in enumerate(out):
        replies[number] = list(out[key].generated_tokens)[: jobs[number].decoding.max_tokens]
    return [replies[number] for number in range(len(jobs))]
