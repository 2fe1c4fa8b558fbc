"""A language model in this process: any Hugging Face causal language model folder or hub id.

Requests are rendered and tokenised; an engine runs them: `_packed`, which computes each distinct token
once, for the families of models it knows, `_padded` for all others. A reply never depends on what else is
computed beside it beyond floating-point rounding: every request samples with draws of its own. torch and
transformers are imported on first use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..adapter import Adapter
from ..contracts.model import (
    Admit,
    Capabilities,
    Completion,
    Failure,
    GenerateRequest,
    Likelihood,
    LikelihoodRequest,
    Loaded,
    ModelIdentity,
    Request,
    Tokens,
    always,
)
from ..errors import ConfigError, MissingExtra, ModelError, PromptOptError
from ..telemetry import switch_off
from ._batch import Job, Pair
from ._folder import find_folder, version_of
from ._render import Renderer, insertion_markers

if TYPE_CHECKING:  # it imports torch
    from ._network import Engine, Network

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
"""Where configurations keep the most positions a model knows."""

Outcome = TypeVar("Outcome", Completion, Likelihood)
Item = TypeVar("Item", bound=Job | Pair)


@dataclass
class LocalModel:
    """A causal language model run by transformers.

    Args:
        name: a folder or a hub id (`org/name`). Only safetensors weights are read, and no code.
        revision: branch, tag or commit of a hub id.
        device: `auto` (cuda, else mps, else cpu) or a torch device such as `cuda:1`.
        dtype: `auto` (float32 on the CPU, else the checkpoint's own), `float32`, `bfloat16` or `float16`.
        batch_tokens: most tokens in a batch, replies included (each distinct one once, or padded ones where
            a family of models has to be padded); None is 4,096 on the CPU and what fits into the free memory,
            at most 32,768, elsewhere. A batch that does not fit all the same is halved.
        chat: `template` renders the messages with the tokenizer's chat template, `plain` joins their
            contents by an empty line, `auto` takes the template if there is one.
        threads: CPU threads of torch while this model computes; None leaves them as they are.
    """

    name: str
    revision: str | None = None
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_tokens: int | None = None
    chat: Literal["auto", "template", "plain"] = "auto"
    threads: int | None = None
    # One forward at a time: two callers' batches at once would need twice the memory and gain nothing.
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)

    _weights: tuple[str, Any, float] = field(default=("", None, 1.0), init=False, repr=False, compare=False)

    @property
    def identity(self) -> ModelIdentity:
        """Place, name, and a hash of the weights, the tokenizer and the options that change answers."""
        marks = [mark for mark in (self.chat, self.dtype) if mark != "auto"]
        return ModelIdentity(self._endpoint, self._label, "+".join([self._version, *marks]))

    @property
    def capabilities(self) -> Capabilities:
        """Likelihood always; insertion if the tokenizer has the marker tokens."""
        insert = insertion_markers(self._tokenizer) is not None
        return Capabilities(likelihood=True, insert=insert, adapters=True)

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Complete the requests; those with common beginnings run side by side."""
        if not requests:
            return
        engine, renderer = self._ready()
        for weights, places in _by_weights(requests):
            jobs = renderer.jobs([requests[place] for place in places])
            admitted = partial(_admit_at, admit, places)
            for position, outcome in self._answer(jobs, engine.complete, admitted, weights):
                yield places[position], outcome

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Score the continuations, batch by batch; those with common beginnings run side by side.

        No end-of-text token is scored: a continuation is the beginning of a reply.
        """
        if not requests:
            return
        engine, renderer = self._ready()
        for weights, places in _by_weights(requests):
            pairs = renderer.pairs([requests[place] for place in places])
            admitted = partial(_admit_at, admit, places)
            for position, outcome in self._answer(pairs, engine.score, admitted, weights):
                yield places[position], outcome

    # -- gradients (`GradientModel`)

    def loaded(self) -> Loaded:
        """Return the network of transformers and its tokenizer."""
        self._ready()
        return Loaded(self._network.model, self._tokenizer)

    def tokenise(self, requests: Sequence[LikelihoodRequest]) -> list[Tokens | Failure]:
        """Turn requests into tokens, those that completing and scoring see."""
        renderer = self._ready()[1]
        pairs = renderer.pairs([replace(request, adapter=None) for request in requests])
        end = renderer.tokenizer.eos_token_id
        return [p if isinstance(p, Failure) else Tokens(p.prompt, p.continuation, end) for p in pairs]

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Hold the network, with its number of threads."""
        with self._lock, _threads(self.threads):
            yield

    @property
    def folder(self) -> Path:
        """Where the weights are (see `contracts.model.LocalWeights`)."""
        return self._folder

    @property
    def recipe(self) -> tuple[str, Mapping[str, Any]]:
        """How another process builds it (see `contracts.model.Portable`)."""
        told = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return f"{self._provider}/{told.pop('name')}", told

    # -- what a subclass may say differently

    _provider = "hf"

    @property
    def _endpoint(self) -> str:
        return "local"

    @cached_property
    def _folder(self) -> Path:
        return find_folder(self.name, self.revision)

    @property
    def _label(self) -> str:
        path = Path(self.name).expanduser()
        return path.resolve().name if path.is_dir() else self.name

    # -- loading

    @property
    def _where(self) -> str:
        return f"model {self.name!r}"

    @property
    def _version(self) -> str:
        return version_of(self._folder)

    @cached_property
    def _tokenizer(self) -> Any:
        transformers = _transformers(self._where)
        with _loading(self._where):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(self._folder), local_files_only=True, trust_remote_code=False
            )
        if self.chat == "template" and tokenizer.chat_template is None:
            raise ConfigError(
                f"{self._where}.chat", "the tokenizer has no chat template", do="use chat: plain"
            )
        return tokenizer

    @cached_property
    def _network(self) -> Network:
        transformers = _transformers(self._where)
        from ._network import Network

        device = self._pick_device()
        dtype = "float32" if self.dtype == "auto" and device == "cpu" else self.dtype
        with _loading(self._where):
            model, info = transformers.AutoModelForCausalLM.from_pretrained(
                str(self._folder),
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            model = model.to(device).eval().requires_grad_(False)
        if info["missing_keys"] or info["mismatched_keys"]:
            missing = sorted(info["missing_keys"]) or sorted(key for key, *_ in info["mismatched_keys"])
            raise ModelError(self._where, "the weights do not fit the configuration", got=missing[:3])
        network = Network(model, self._tokenizer)
        if "past_key_values" not in network.accepted:
            raise ModelError(
                self._where,
                f"{type(model).__name__} keeps no key-value cache",
                do="use a transformer, or serve this model and use openai/NAME with base_url",
            )
        return network

    @cached_property
    def _engine(self) -> Engine:
        switch_off()  # before transformers is imported
        from ._cascade import supported
        from ._network import FORWARD_TOKENS, room
        from ._packed import PackedEngine
        from ._padded import PaddedEngine

        limit = self.batch_tokens or room(self._network)
        if not supported(self._network.model):
            return PaddedEngine(self._network, limit)
        return PackedEngine(
            self._network, limit, min(limit, FORWARD_TOKENS[self._network.device.type == "cpu"])
        )

    def _pick_device(self) -> str:
        import torch

        if self.device == "auto":
            mps = torch.backends.mps.is_available()
            return "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
        try:
            torch.empty(0, device=self.device)
        # torch says "no such device" with either, depending on how it was built.
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"{self._where}.device", "cannot be used here", got=self.device, do="use auto or cpu"
            ) from error
        return self.device

    @cached_property
    def _renderer(self) -> Renderer:
        model, tokenizer = self._network.model, self._tokenizer
        config = model.config.get_text_config(decoder=True).to_dict()
        ids = model.generation_config.eos_token_id
        ends = [*(ids if isinstance(ids, list) else [ids]), tokenizer.eos_token_id]
        return Renderer(
            tokenizer,
            templated=self.chat != "plain" and tokenizer.chat_template is not None,
            ends=frozenset(end for end in ends if end is not None),
            context=next((config[key] for key in CONTEXT_KEYS if isinstance(config.get(key), int)), None),
            lead=self._lead,
        )

    def _lead(self, adapter: Adapter) -> tuple[int, ...]:
        """Return the virtual tokens of trained weights.

        Raises:
            ModelError: they were trained for another model.
        """
        if adapter.model != self.identity.revision:
            raise ModelError(
                self._where, "the weights were trained for another model", got=adapter.model[:16],
                do="use the model it was trained for, or train it again",
            )  # fmt: skip
        if not adapter.vectors:
            return ()
        from ._cascade import supported

        model = self._network.model
        return self._network.virtual.ids(adapter, model, prefixes=supported(model))

    def _ready(self) -> tuple[Engine, Renderer]:
        with self._lock:
            return self._engine, self._renderer

    @contextmanager
    def _changed(self, adapter: Adapter | None) -> Iterator[None]:
        """Compute with changed weights, if there are any; the last ones stay in memory."""
        if adapter is None:
            yield
            return
        from ..changed_weights import changed

        network = self._network.model
        if self._weights[0] != adapter.digest:
            tensors, options = adapter.read()
            there = {name: tensor.to(network.device, network.dtype) for name, tensor in tensors.items()}
            self._weights = adapter.digest, there, options.get("scale", 1.0)
        with changed(network, adapter.method, *self._weights[1:]):
            yield

    # -- running

    def _answer(
        self,
        items: Sequence[Item | Failure],
        run: Callable[[Sequence[Item], Callable[[Item], bool]], Generator[tuple[Item, Outcome | Failure]]],
        admit: Admit,
        weights: Adapter | None,
    ) -> Iterator[tuple[int, Outcome | Failure]]:
        """Yield failures, then the outcomes as they come; equal items are run once."""
        positions: dict[Item, list[int]] = {}
        for position, item in enumerate(items):
            if isinstance(item, Failure):
                yield position, item
            else:
                positions.setdefault(item, []).append(position)
        refused: list[int] = []

        def admit_item(item: Item) -> bool:
            answers = [admit(position) for position in positions[item]]
            refused.extend(p for p, answer in zip(positions[item], answers, strict=True) if not answer)
            positions[item] = [p for p, answer in zip(positions[item], answers, strict=True) if answer]
            return any(answers)

        outcomes = run(list(positions), admit_item)
        with closing(outcomes):
            while True:
                with self._lock, _threads(self.threads), self._changed(weights):
                    found = next(outcomes, None)
                while refused:
                    yield refused.pop(), Failure("budget", "the budget has no room for this call")
                if found is None:
                    return
                item, outcome = found
                for position in positions[item]:
                    yield position, outcome


def _by_weights(requests: Sequence[Request]) -> list[tuple[Adapter | None, list[int]]]:
    """Return the positions of requests that are answered by the same weights; soft prompts change none."""
    groups: dict[Adapter | None, list[int]] = {}
    for position, request in enumerate(requests):
        changes = request.adapter is not None and not request.adapter.vectors
        groups.setdefault(request.adapter if changes else None, []).append(position)
    return list(groups.items())


def _admit_at(admit: Admit, places: Sequence[int], position: int) -> bool:
    return admit(places[position])


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if count is not None:
        # Each time: the number belongs to the calling thread, and other models may want another one.
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _transformers(where: str) -> Any:
    switch_off()
    try:
        import torch  # noqa: F401  (transformers alone would import, and fail later in many words)
        import transformers
    except ImportError as error:
        raise MissingExtra(where, error.name or "torch", "local") from error
    return transformers


@contextmanager
def _loading(where: str) -> Iterator[None]:
    """Silence progress bars, and turn what loading raises into one line."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except PromptOptError:
        raise
    # Loading runs through many libraries, each with exceptions of its own; all mean the folder is unusable.
    except Exception as error:
        problem = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise ModelError(
            where,
            f"cannot be loaded: {problem.rstrip('.')}",
            do="give a causal language model that transformers knows, with all files of its folder",
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()
