"""From messages to tokens: chat template, plain text, and insertion between prefix and suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..adapter import Adapter
from ..contracts.model import Failure, GenerateRequest, LikelihoodRequest, Request
from ..records import Message, digest
from ._batch import Job, Pair
from ._text import joined, spaced, storable

INSERTION = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen Coder, CodeGemma
    ("<PRE>", "<SUF>", "<MID>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek Coder
)
"""Marker tokens of models trained to insert: before the prefix, before the suffix, before the middle.

Source: Bavarian et al. 2022, "Efficient Training of Language Models to Fill in the Middle", section 3 (PSM).
"""
INSERTION_ENDS = ("<EOT>", "▁<EOT>", "<|endoftext|>", "<|file_separator|>", "<|file_sep|>", "<|fim_pad|>")

SURROGATES = "the text holds half a character (a lone surrogate)"

Messages = tuple[Message, ...]
Prompt = tuple[str, tuple[int, ...]]
Key = tuple[Messages, bool]


@dataclass(frozen=True)
class Renderer:
    """A tokenizer and what must be known to use it.

    Attributes:
        tokenizer: a transformers tokenizer.
        templated: render with its chat template; otherwise contents are joined by an empty line.
        ends: token ids that end a reply.
        context: most tokens of a prompt and its reply; None is no limit.
        lead: returns the virtual tokens that trained weights put before a prompt.
    """

    tokenizer: Any
    templated: bool
    ends: frozenset[int]
    context: int | None
    lead: Callable[[Adapter], tuple[int, ...]]

    def jobs(self, requests: Sequence[GenerateRequest]) -> list[Job | Failure]:
        """Turn requests into jobs, or say why one cannot be answered."""
        keys = [(r.messages, self.templated and r.suffix is None) for r in requests]
        prompts = self._prompts(keys)
        return [self._job(request, prompts[key]) for request, key in zip(requests, keys, strict=True)]

    def pairs(self, requests: Sequence[LikelihoodRequest]) -> list[Pair | Failure]:
        """Turn requests into pairs, or say why one cannot be scored.

        Prompt and continuation are tokenised apart and then joined, so that the prompt's tokens are the
        ones generation starts from, and all continuations of a prompt share them.
        """
        if not self.templated:
            requests = [spaced(request) for request in requests]
        keys = [(request.messages, self.templated) for request in requests]
        prompts = self._prompts(keys)
        texts = dict.fromkeys(r.continuation for r in requests if storable(r.continuation))
        continuations = dict(zip(texts, self._encode(list(texts)), strict=True))
        return [
            self._pair(request, prompts[key], continuations.get(request.continuation))
            for request, key in zip(requests, keys, strict=True)
        ]

    def _job(self, request: GenerateRequest, prompt: Prompt | Failure) -> Job | Failure:
        if isinstance(prompt, Failure):
            return prompt
        (text, ids), ends, decoding = prompt, self.ends, request.decoding
        if request.suffix is not None:
            if self._markers is None:
                return Failure("unsupported", "the tokenizer has no marker tokens for insertion")
            if not storable(request.suffix):
                return Failure("rejected", SURROGATES)
            ids, ends = self._around(ids, request.suffix, self._markers)
            text = f"{text}\0{request.suffix}"
        ids = self._led(request, ids)
        if decoding.max_tokens < 1:
            return Failure("rejected", f"max_tokens must be at least 1, got {decoding.max_tokens}")
        if decoding.temperature < 0 or not 0 < decoding.top_p <= 1:
            return Failure("rejected", f"needs temperature >= 0 and 0 < top_p <= 1, got {decoding}")
        if problem := self._too_long(len(ids), 1):
            return problem
        room = decoding.max_tokens if self.context is None else self.context - len(ids)
        greedy = decoding.temperature == 0
        return Job(
            prompt=ids,
            # What does not change the answer is evened out, so that equal jobs are found.
            decoding=replace(
                decoding,
                seed=0,
                max_tokens=min(decoding.max_tokens, room),
                top_p=1.0 if greedy else decoding.top_p,
            ),
            ends=ends,
            seed=0 if greedy else int(digest([decoding.seed, request.sample, text]), 16),
            logprobs=request.logprobs,
        )

    def _pair(
        self, request: LikelihoodRequest, prompt: Prompt | Failure, continuation: list[int] | None
    ) -> Pair | Failure:
        if isinstance(prompt, Failure):
            return prompt
        if continuation is None:
            return Failure("rejected", SURROGATES)
        ids = self._led(request, prompt[1])
        return self._too_long(len(ids), len(continuation)) or Pair(ids, tuple(continuation))

    def _led(self, request: Request, ids: tuple[int, ...]) -> tuple[int, ...]:
        return ids if request.adapter is None else (*self.lead(request.adapter), *ids)

    def _too_long(self, prompt: int, reply: int) -> Failure | None:
        if not prompt:
            return Failure("rejected", "the prompt is empty")
        if self.context is not None and prompt + reply > self.context:
            message = f"{prompt} prompt tokens and {reply} more pass the model's context of {self.context}"
            return Failure("rejected", message)
        return None

    def _prompts(self, keys: Iterable[Key]) -> dict[Key, Prompt | Failure]:
        """Render and tokenise each key (messages, with the chat template) once."""
        found: dict[Key, Prompt | Failure] = {}
        texts: dict[Key, str] = {}
        for key in dict.fromkeys(keys):
            rendered = self._template(key[0]) if key[1] else joined(key[0])
            if isinstance(rendered, str) and not storable(rendered):
                rendered = Failure("rejected", SURROGATES)
            if isinstance(rendered, Failure):
                found[key] = rendered
            else:
                texts[key] = rendered
        for (key, text), ids in zip(texts.items(), self._encode(list(texts.values())), strict=True):
            # A chat template writes the beginning-of-text token itself.
            found[key] = (text, tuple(ids) if key[1] else (*self._start, *ids))
        return found

    def _template(self, messages: Messages) -> str | Failure:
        from jinja2 import TemplateError

        chat = [message._asdict() for message in messages]
        try:
            return str(self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
        except TemplateError as error:
            return Failure("rejected", f"the chat template refuses these messages: {error}")

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise texts as they stand: nothing is put before or behind them."""
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return list(encoded["input_ids"])

    @cached_property
    def _markers(self) -> tuple[int, int, int] | None:
        return insertion_markers(self.tokenizer)

    def _around(
        self, prefix: tuple[int, ...], suffix: str, markers: tuple[int, int, int]
    ) -> tuple[tuple[int, ...], frozenset[int]]:
        """Return the tokens that ask for what stands between `prefix` and `suffix`, and what ends it."""
        before, after, middle = markers
        vocabulary: Mapping[str, int] = self.tokenizer.get_vocab()
        ends = {vocabulary[token] for token in INSERTION_ENDS if token in vocabulary}
        body = prefix[len(self._start) :]
        ids = (*self._start, before, *body, after, *self._encode([suffix])[0], middle)
        return ids, self.ends | ends | set(markers)

    @cached_property
    def _start(self) -> tuple[int, ...]:
        """What the tokenizer puts before a plain text: a beginning-of-text token, mostly, or nothing."""
        tokenizer = self.tokenizer
        added: list[int] = tokenizer("")["input_ids"]
        return tuple(added[:1]) if added and added[0] == tokenizer.bos_token_id else ()


def insertion_markers(tokenizer: Any) -> tuple[int, int, int] | None:
    """Return the ids of the marker tokens for insertion, or None if the tokenizer has none."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    for before, after, middle in INSERTION:
        if before in vocabulary and after in vocabulary and middle in vocabulary:
            return vocabulary[before], vocabulary[after], vocabulary[middle]
    return None
