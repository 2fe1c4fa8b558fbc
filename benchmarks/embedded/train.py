"""Train an embedded model from scratch, within a budget of tokens.

    python -m benchmarks.embedded.train --size small --tokenizer TOKENIZER --out DIR --tokens 12e6
    python -m benchmarks.embedded.train ... --resume      # goes on from DIR/checkpoint.pt
    python -m benchmarks.embedded.train ... --probe 180   # says how fast it is, and stops

The result depends on the seed, the budget, the sizes of batch and part and the number of processes, not on
the speed of the machine. Shards of data are drawn here, or read from the folder that `shards` writes. DIR
gets `train.jsonl` (after `--resume` it may say a step twice), `checkpoint.pt` and at the end `model`, an
ordinary Hugging Face folder.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from transformers import GenerationConfig, LlamaForCausalLM

from . import shards
from .batches import LIGHT, Part
from .model import BOS, EOS, PAD, SIZES, Block, block, build, forward, relate_word_forms
from .muon import Muon

WARM_UP, DECAY = 0.02, 0.45
"""Shares of the budget over which the learning rate rises from zero, and falls to zero."""
REPORT = 20
"""Steps between two lines of progress."""
SHARED = ("size", "tokenizer", "tokens", "processes", "seed", "batch", "part", "rate", "adam_rate")
"""Settings that must be the same when a training goes on."""


@dataclass(frozen=True)
class Settings:
    """What a training is.

    Attributes:
        size: one of `SIZES`.
        tokenizer: its folder.
        out: folder that is written to.
        tokens: budget, padding included.
        processes: that share the work, one thread each.
        device: `cpu` or `cuda`.
        shards: folder of the shards that `shards` writes, with `part` tokens a part; None: drawn here.
        seed: of the weights and the documents.
        batch: tokens of a step, of all processes together.
        part: tokens that go through the model together; divides each process's share of `batch`.
        rate: learning rate of Muon, for matrices.
        adam_rate: learning rate of AdamW, for all else.
        save_every: seconds between two checkpoints.
        probe: seconds after which to stop; 0: train to the end.
        resume: go on from the checkpoint in `out`.
        compiled: use torch.compile (needs a C++ compiler).
    """

    size: str
    tokenizer: str
    out: str
    tokens: int
    processes: int = 2
    device: str = "cpu"
    shards: str | None = None
    seed: int = 0
    batch: int = 8192
    part: int = 2048
    rate: float = 0.02
    adam_rate: float = 3e-3
    save_every: float = 300.0
    probe: float = 0.0
    resume: bool = False
    compiled: bool = True

    @property
    def steps(self) -> int:
        """Number of steps of the whole training."""
        return math.ceil(self.tokens / self.batch)

    @property
    def parts(self) -> int:
        """Parts of a step, in each process."""
        return self.batch // self.processes // self.part


def rate_at(share: float) -> float:
    """Return the learning rate, as a share of its peak, when that share of the budget is spent."""
    return min(1.0, share / WARM_UP, (1 - share) / DECAY)


class Training:
    """The state of a training in one of its processes, and the steps that move it.

    Args:
        settings: of the training.
        recipe: draws the data.
        rank: of this process.
    """

    def __init__(self, settings: Settings, recipe: shards.Recipe, rank: int = 0) -> None:
        self.settings, self.tokenizer, self.rank = settings, recipe.tokenizer, rank
        torch.manual_seed(settings.seed)
        self.model = build(SIZES[settings.size], len(self.tokenizer))
        relate_word_forms(self.model, self.tokenizer.get_vocab())
        self.model.to(settings.device)
        self.parameters = list(self.model.parameters())
        matrices = [p for layer in self.model.model.layers for p in layer.parameters() if p.ndim == 2]
        chosen = {id(matrix) for matrix in matrices}
        others = [p for p in self.parameters if id(p) not in chosen]
        self.muon = Muon(matrices, rank=rank, world=settings.processes)
        self.adam = torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)
        self._recipe = recipe
        self._data = self._from(0)
        self.block: Block = torch.compile(block, dynamic=False) if settings.compiled else block
        self.step = 0

    def _from(self, step: int) -> Iterator[Part]:
        """Return the parts from a step on; the processes take turns in reading shards."""
        settings = self.settings
        folder = Path(settings.shards) if settings.shards else None
        return shards.parts(
            self._recipe, self.rank, settings.processes, step * settings.parts, folder, settings.device
        )

    def advance(self) -> tuple[Tensor, Tensor]:
        """Take one step.

        Returns:
            This process's mean loss over the full-weight targets, in nats, and the share of padding: as
            tensors, for reading them would make a GPU wait.
        """
        settings = self.settings
        parts = list(islice(self._data, settings.parts))
        total = torch.stack([part.weights.sum() for part in parts]).sum()
        losses = torch.stack([self._backward(part, total) for part in parts])
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        # The middle of the step: the last one still moves the weights, if little.
        scale = rate_at((self.step + 0.5) / settings.steps)
        self.muon.step(scale * settings.rate)
        self.adam.param_groups[0]["lr"] = scale * settings.adam_rate
        self.adam.step()
        for parameter in self.parameters:
            parameter.grad = None
        self.step += 1
        padding = torch.stack([(part.owners < 0).float().mean() for part in parts]).mean()
        return losses.mean(), padding

    def _backward(self, part: Part, total: Tensor) -> Tensor:
        """Add the gradient of a part, and return the mean loss of its full-weight targets."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self.settings.device == "cuda"):
            hidden = forward(self.model, part.ids, part.positions, part.mask, self.block)
            logits = F.linear(hidden.flatten(0, 1)[part.sources], self.model.model.embed_tokens.weight)
        each = F.cross_entropy(logits.float(), part.targets, reduction="none")
        ((each * part.weights).sum() / total).backward()
        # Thinned light targets have doubled weights, which may reach this limit: a matter of the report only.
        full = part.weights >= 2 * LIGHT
        return (each.detach() * full).sum() / full.sum()

    def _average_gradients(self) -> None:
        if self.settings.processes == 1:
            return
        flat = torch.cat([parameter.grad.flatten() for parameter in self.parameters])
        dist.all_reduce(flat)
        flat /= self.settings.processes
        pieces = flat.split([parameter.numel() for parameter in self.parameters])
        for parameter, piece in zip(self.parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)

    def save(self, path: Path) -> None:
        """Write the state, which is the same in all processes, to a file."""
        state = {
            "settings": {name: asdict(self.settings)[name] for name in SHARED},
            "step": self.step,
            "model": self.model.state_dict(),
            "adam": self.adam.state_dict(),
            "muon": self.muon.averages,
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path) -> None:
        """Go on from a file that `save` wrote.

        Raises:
            ValueError: if it is of another training.
        """
        state = torch.load(path, map_location=self.settings.device, weights_only=True)
        for name, value in state["settings"].items():
            if (wanted := asdict(self.settings)[name]) != value:
                raise ValueError(f"{path} is of a training with {name} {value}, not {wanted}: give the same")
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["adam"])
        torch._foreach_copy_(self.muon.averages, state["muon"])
        self._data = self._from(self.step)

    def export(self, folder: Path) -> None:
        """Write the model in bfloat16, with its tokenizer, as a Hugging Face folder."""
        model = LlamaForCausalLM(self.model.config)
        model.load_state_dict(self.model.state_dict())
        model.generation_config = GenerationConfig(
            do_sample=False, max_new_tokens=48, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD
        )
        model.to(torch.bfloat16).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


class Log:
    """Lines of progress, on standard output and in `train.jsonl`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.losses: list[Tensor] = []
        self.padding: list[Tensor] = []
        self.began = time.monotonic()

    def add(self, step: int, loss: Tensor, padding: Tensor) -> None:
        """Note a step, and write a line after every REPORT steps."""
        self.losses.append(loss)
        self.padding.append(padding)
        if step % REPORT and step != self.settings.steps:
            return
        steps = len(self.losses)
        line = {
            "step": step,
            "share": round(step / self.settings.steps, 4),
            "loss": round(float(torch.stack(self.losses).mean()), 4),
            "tokens": step * self.settings.batch,
            "padding": round(float(torch.stack(self.padding).mean()), 3),
            "tokens_per_second": round(steps * self.settings.batch / (time.monotonic() - self.began)),
        }
        print(" ".join(f"{name} {value}" for name, value in line.items()), flush=True)
        with (Path(self.settings.out) / "train.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.losses, self.padding, self.began = [], [], time.monotonic()


def train(training: Training) -> None:
    """Take the steps that are left, saving now and then, and export the model."""
    settings, out = training.settings, Path(training.settings.out)
    checkpoint = out / "checkpoint.pt"
    if settings.resume:
        training.load(checkpoint)
    log = Log(settings)
    began = saved = time.monotonic()
    while training.step < settings.steps:
        loss, padding = training.advance()
        if training.rank == 0:
            log.add(training.step, loss, padding)
        now = time.monotonic()
        stop = bool(settings.probe) and now - began > settings.probe
        stop, save = _agree(stop, now - saved > settings.save_every, settings.processes)
        if save:
            if training.rank == 0:
                training.save(checkpoint)
            saved = time.monotonic()
        if stop:
            return
    if training.rank == 0:
        training.save(checkpoint)
        training.export(out / "model")


def _agree(stop: bool, save: bool, processes: int) -> tuple[bool, bool]:
    """Return the decisions of process 0: clocks differ, and all must stop or save after the same step."""
    decisions = torch.tensor([stop, save], dtype=torch.uint8)
    if processes > 1:
        dist.broadcast(decisions, 0)
    return bool(decisions[0]), bool(decisions[1])


def work(rank: int, settings: Settings, port: int) -> None:
    """Be one of the processes of a training."""
    from .documents import tree
    from .tokenizer import load

    torch.set_num_threads(1)
    if settings.processes > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=settings.processes)
    recipe = shards.Recipe(tree, load(settings.tokenizer), settings.seed, settings.part)
    train(Training(settings, recipe, rank))
    if settings.processes > 1:
        dist.destroy_process_group()


def launch(settings: Settings) -> None:
    """Start the processes of a training and wait for them.

    Raises:
        FileExistsError: if a new training would overwrite the checkpoint of another.
    """
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    if not settings.resume:
        if (out / "checkpoint.pt").exists():
            raise FileExistsError(f"{out} holds a training: go on with --resume, or choose another --out")
        (out / "train.jsonl").unlink(missing_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # New processes, even if it is one: these are read when OpenMP starts, here it has. Waiting threads that
    # spin would take the core from the thread they wait for.
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="0")
    torch.multiprocessing.spawn(work, (settings, port), settings.processes)


def parse(arguments: list[str] | None = None) -> Settings:
    """Return the settings that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--tokenizer", required=True, metavar="DIR")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--tokens", type=float, default=12e6, help="budget, padding included")
    parser.add_argument("--processes", type=int, help="default: 2 on a CPU, 1 on a GPU")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", metavar="DIR", help="what `shards` writes, with the same --part")
    parser.add_argument(
        "--batch", type=int, help="tokens a step, of all processes together; 8192 on a CPU, 16384 on a GPU"
    )
    parser.add_argument("--part", type=int, help="tokens at once; default: 2048 on a CPU, --batch on a GPU")
    parser.add_argument("--rate", type=float, default=0.02, help="learning rate of Muon")
    parser.add_argument("--adam-rate", type=float, default=3e-3, help="learning rate of AdamW")
    parser.add_argument("--save-every", type=float, default=300.0, help="seconds between checkpoints")
    parser.add_argument("--probe", type=float, default=0.0, metavar="SECONDS", help="stop then")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=True)
    options = vars(parser.parse_args(arguments))
    if options["device"] == "auto":
        options["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    on_gpu = options["device"] == "cuda"
    options["processes"] = options["processes"] or (1 if on_gpu else 2)
    options["batch"] = options["batch"] or (16384 if on_gpu else 8192)
    options["part"] = options["part"] or (options["batch"] if on_gpu else 2048)
    options["tokens"] = int(options["tokens"])
    if on_gpu and options["processes"] > 1:
        parser.error("on a GPU there is one process: leave --processes out")
    if options["batch"] % (options["part"] * options["processes"]):
        parser.error("--batch must be a multiple of --part times --processes")
    return Settings(**options)


if __name__ == "__main__":
    launch(parse())
