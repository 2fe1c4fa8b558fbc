"""How fast soft prompts train: ours, a plain loop over `inputs_embeds`, and PEFT, on the same rows."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch

from promptopt import data, plugins
from promptopt.prompt import Prompt
from promptopt.search._soft_methods import PromptTuning, embed_text
from promptopt.search._training import Schedule, Training
from promptopt.search._training_rows import TrainingRow, answer_rows
from promptopt.template import Template

VECTORS, BATCH, ROUNDS, STEPS = 10, 16, 7, 4
LARGER = 3
"""How many times the 64 rows stand in the batch whose memory is measured: more than loading a model takes."""
TEXT = "Write what the sentence says, in other words, and nothing else."

Step = Callable[[list[TrainingRow]], None]


def measure_speed(name: str) -> None:
    """Print tokens a second of training, and the peak of memory of a process that does nothing else."""
    contenders = ["ours", "plain loop", *(["PEFT"] if find_spec("peft") else [])]
    model, rows = prepare(name)
    rows = rows[:BATCH]
    steps = {who: make(who, model, rows) for who in contenders}
    tokens = sum(len(row.prompt) + len(row.replies[0]) + VECTORS for row in rows)
    seconds: dict[str, list[float]] = {who: [] for who in contenders}
    for who in contenders:
        steps[who](rows)
    for _ in range(ROUNDS):
        for who in contenders:
            start = time.perf_counter()
            for _ in range(STEPS):
                steps[who](rows)
            _wait()
            seconds[who].append((time.perf_counter() - start) / STEPS)
    print(f"\nspeed: prompt tuning, {VECTORS} vectors, batches of {BATCH} rows ({tokens} tokens)")
    for who in contenders:
        ratio = median(b / a for a, b in zip(seconds[who], seconds["plain loop"], strict=True))
        rate = tokens / median(seconds[who])
        print(f"  {who:<12}{rate:>10,.0f} tokens/s, {ratio:.2f} of the plain loop, {_peak(who, name)}")


def prepare(name: str) -> tuple[Any, list[TrainingRow]]:
    """Return the model, and rows of a sentence each; on the CPU, all contenders get one thread."""
    torch.set_num_threads(1)
    provider, _, label = name.partition("/")
    model = plugins.build("models", provider, {"name": label})
    words = [
        "the",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "one",
        "lazy",
        "dog",
        "near",
        "an",
        "old",
        "barn",
    ]
    texts = [" ".join(words[(i + k) % len(words)] for k in range(14)) for i in range(64)]
    examples = [row.example for row in data.read([{"input": text, "output": text[:40]} for text in texts])]
    prompt = Prompt("Write it again.", template=Template.for_fields(("input",)))
    return model, answer_rows(model, prompt, examples, whole=True)


def make(who: str, model: Any, rows: list[TrainingRow]) -> Step:
    """Return what takes a step on rows."""
    network = model.loaded().module
    if who == "ours":
        return _ours(model, rows)
    if who == "plain loop":
        return _plain(network, embed_text(model, TEXT, VECTORS))
    return _peft(network)


def _ours(model: Any, rows: list[TrainingRow]) -> Step:
    tuned = PromptTuning(model, embed_text(model, TEXT, VECTORS))
    file = Path(tempfile.mkdtemp()) / "checkpoint.safetensors"
    training = Training(tuned, rows, Schedule(10**6, len(rows)), seed=0, file=file)

    def step(_: list[TrainingRow]) -> None:
        with model.computing():
            training.advance()

    return step


def _plain(network: Any, start: torch.Tensor) -> Step:
    vectors = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([vectors], lr=0.01)

    def step(rows: list[TrainingRow]) -> None:
        ids, labels, mask = _tensors(rows, network.device)
        known = network.get_input_embeddings()(ids)
        embeds = torch.cat([vectors.to(known.dtype).expand(len(ids), -1, -1), known], 1)
        front = torch.full((len(ids), VECTORS), -100, device=ids.device)
        seen = torch.cat([torch.ones_like(front), mask], 1)
        loss = network(inputs_embeds=embeds, attention_mask=seen, labels=torch.cat([front, labels], 1)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _peft(network: Any) -> Step:
    import copy
    import warnings

    import peft

    warnings.simplefilter("ignore")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VECTORS)
    tuned = peft.get_peft_model(copy.deepcopy(network), config)
    optimizer = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=0.01)

    def step(rows: list[TrainingRow]) -> None:
        ids, labels, mask = _tensors(rows, network.device)
        loss = tuned(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _tensors(
    rows: list[TrainingRow], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    whole = [row.prompt + row.replies[0] for row in rows]
    width = max(map(len, whole))
    ids = torch.tensor([[*s, *[0] * (width - len(s))] for s in whole], device=device)
    mask = torch.tensor([[1] * len(s) + [0] * (width - len(s)) for s in whole], device=device)
    labels = ids.masked_fill(mask == 0, -100)
    for place, row in enumerate(rows):
        labels[place, : len(row.prompt)] = -100
    return ids, labels, mask


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak(who: str, name: str) -> str:
    """Return what a fresh process needs at its peak."""
    code = f"from benchmarks.soft.speed import peak; print(peak({who!r}, {name!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def peak(who: str, name: str) -> str:
    """Train on large batches; return the most memory that it took: of the GPU, or more than loading did."""
    model, rows = prepare(name)
    rows = rows * LARGER
    if torch.cuda.is_available():
        model.loaded()
        torch.cuda.reset_peak_memory_stats()
    step = make(who, model, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        step(rows)
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB of the GPU for {len(rows)} rows"
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f"{more / 1024:,.0f} MiB for {len(rows)} rows over the loaded model"
