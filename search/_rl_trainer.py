"""TRL's trainer at the service of `rl`: the generator, its checkpoints, its anchor, and when it stops.

It knows nothing of tasks and rewards: it asks the generator, hands the texts to `judge`, and learns from the
numbers that come back. Imported on first use: torch, transformers and trl take seconds.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import torch
import transformers
import trl
from datasets import Dataset
from safetensors.torch import load_file, save_file

from promptopt.errors import ConfigError, ModelError

from ._rl_asks import Ask
from ._rl_log import newest_checkpoint
from ._rl_losses import Drawing, Floored
from ._rl_options import Training

ANCHOR = "anchor.safetensors"
ADAPTERS = ("adapter_model.safetensors", "ref/adapter_model.safetensors")
"""The files of an adapter that is trained, and of its anchor."""

JudgeStep = Callable[[int, "Sequence[str | None]"], "Sequence[float | None]"]
"""`judge(step, texts)`: texts group by group, None for one that was cut off; rewards, None where unknown."""

Learned = Callable[[int, "dict[str, float]"], "str | None"]
"""`learned(step, measures)`: told after each optimizer step; why to stop, or None to go on."""


@dataclass(frozen=True)
class Sampling:
    """How proposals are drawn: so many a group, at a temperature, of so many tokens at most."""

    group_size: int
    temperature: float
    max_tokens: int


@dataclass
class Generator:
    """A causal language model that writes prompts, and learns to.

    Attributes:
        weights: the folder it is loaded from.
        training: how it learns.
        sampling: how it is drawn from.
        where: folder for checkpoints.
        seed: of everything random in it.
    """

    weights: Path
    training: Training
    sampling: Sampling
    where: Path
    seed: int
    tokenizer: Any = field(init=False)
    model: Any = field(init=False)

    def __post_init__(self) -> None:
        """Load model and tokenizer."""
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(self.weights), local_files_only=True, trust_remote_code=False, padding_side="left"
        )
        # Full training keeps float32 weights on the GPU too: bfloat16 ones would lose small updates.
        low = self.device == "cuda" and self.training.lora is not None
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            str(self.weights),
            dtype="bfloat16" if low else "float32",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        ).to(self.device)

    @property
    def device(self) -> str:
        """Where it computes."""
        wanted = self.training.device
        if wanted == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "searcher rl.training.device", "there is no GPU", got=wanted, do="use auto or cpu"
            )
        return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted

    def learn(self, asks: Sequence[Ask], groups: int, judge: JudgeStep, learned: Learned) -> None:
        """Train on all asks, `groups` a step, from the newest whole checkpoint on; later steps are judged."""
        trainer = self._trainer(asks, groups, judge, learned)
        start = self.checkpoint()
        if start is not None and self._anchor_moves and self.training.lora is None:
            trainer.ref_model.load_state_dict(load_file(start[0] / ANCHOR), strict=False)
        trainer.train(resume_from_checkpoint=None if start is None else str(start[0]))

    def checkpoint(self) -> tuple[Path, int] | None:
        """Return the newest whole checkpoint and its optimizer steps."""
        weights, anchor = ("model.safetensors", ANCHOR) if self.training.lora is None else ADAPTERS
        needed = (weights, "optimizer.pt", "scheduler.pt", "rng_state.pth")
        return newest_checkpoint(self.where, (*needed, anchor) if self._anchor_moves else needed)

    @torch.no_grad()
    def write(self, asks: Sequence[Ask], n: int) -> list[list[str | None]]:
        """Draw n texts for each ask from the policy as it is now; None is one that was cut off."""
        sampling, found = self.sampling, []
        self.model.eval()
        torch.manual_seed(self.seed)
        for ask in asks:
            batch = self.tokenizer(
                [self._render(ask.text)] * n, return_tensors="pt", add_special_tokens=not self._templated
            ).to(self.device)
            made = self.model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=True,
                top_k=0,
                temperature=sampling.temperature,
                max_new_tokens=sampling.max_tokens,
                pad_token_id=self._pad,
            )
            replies = made[:, batch["input_ids"].shape[1] :].tolist()  # [n, tokens]
            found.append([self._decode(reply) for reply in replies])
        return found

    def export(self, folder: Path) -> None:
        """Save the policy as an ordinary model folder; adapters are merged into the weights."""
        whole = self.model = self.model.merge_and_unload() if self.training.lora is not None else self.model
        # The trainer sets decoding options for training on the model; the folder gets its own again.
        whole.generation_config = transformers.AutoModelForCausalLM.from_pretrained(
            str(self.weights), local_files_only=True, use_safetensors=True, trust_remote_code=False
        ).generation_config
        whole.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))

    # --- texts ---------------------------------------------------------------------------------------

    @property
    def _anchor_moves(self) -> bool:
        """Whether there is an anchor (there is none without a weight on it), and it follows the policy."""
        return self.training.anchor == "moving" and self.training.beta > 0

    @property
    def _templated(self) -> bool:
        return self.tokenizer.chat_template is not None

    @property
    def _pad(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    def _render(self, text: str) -> str:
        if not self._templated:
            return text
        chat = [{"role": "user", "content": text}]
        return str(self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))

    def _ends(self) -> set[int]:
        ids = self.model.generation_config.eos_token_id
        return {*(ids if isinstance(ids, list) else [ids]), self.tokenizer.eos_token_id} - {None}

    def _decode(self, ids: Sequence[int]) -> str | None:
        """Return a reply's text, or None if it was cut off before it ended."""
        if not self._ends() & set(ids):
            return None
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    # --- the trainer ---------------------------------------------------------------------------------

    def _trainer(self, asks: Sequence[Ask], groups: int, judge: JudgeStep, learned: Learned) -> Any:
        training = self.training
        kind = trl.GRPOTrainer if training.algorithm == "grpo" else trl.RLOOTrainer
        if training.learning_rate == 0:
            kind = type(kind.__name__, (Drawing, kind), {})
        elif training.algorithm == "rloo" and training.entropy_floor is not None:
            kind = type(kind.__name__, (Floored, kind), {"entropy_floor": training.entropy_floor})

        def reward(completion_ids: Any, trainer_state: Any, **_: Any) -> list[float | None]:
            """Name it as TRL's logs will."""
            texts = [self._decode(ids) for ids in completion_ids]
            if self.device == "cuda":
                torch.cuda.empty_cache()  # so that the target finds the memory that generation took
            return list(judge(trainer_state.global_step // training.iterations, texts))

        adapter = None if training.lora is None else _lora(training.lora)
        if adapter is not None and self._anchor_moves:
            # A model that comes with an adapter gets a frozen copy of it from TRL, "ref", to be its anchor.
            transformers.set_seed(self.seed)
            self.model, adapter = _peft().get_peft_model(self.model, adapter), None
        prompts = [[{"role": "user", "content": a.text}] if self._templated else a.text for a in asks]
        trainer = kind(
            model=self.model,
            reward_funcs=reward,
            args=self._config(len(asks) // groups, groups),
            train_dataset=Dataset.from_dict({"prompt": prompts}),
            processing_class=self.tokenizer,
            peft_config=adapter,
            callbacks=[_Watch(learned, training.iterations)],
        )
        if self._anchor_moves:
            trainer.add_callback(_Anchor(trainer, training))
        trainer.remove_callback(transformers.PrinterCallback)
        self.model = trainer.model
        return trainer

    def _config(self, steps: int, groups: int) -> Any:
        training, sampling = self.training, self.sampling
        batch = groups * sampling.group_size
        micro = min(training.micro_batch or batch, batch)
        if batch % micro:
            raise ConfigError(
                "searcher rl.training.micro_batch",
                f"does not divide the {batch} proposals of a step",
                got=micro,
            )
        cuda = self.device == "cuda"
        options: dict[str, Any] = {
            "output_dir": str(self.where),
            "seed": self.seed,
            "max_steps": steps * training.iterations,
            "per_device_train_batch_size": micro,
            "gradient_accumulation_steps": batch // micro,
            "steps_per_generation": batch // micro,
            "num_generations": sampling.group_size,
            "num_iterations": training.iterations,
            "max_completion_length": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_k": 0,
            "beta": training.beta,
            "learning_rate": training.learning_rate,
            "lr_scheduler_type": "constant",
            "bf16": cuda,
            "use_cpu": not cuda,
            "gradient_checkpointing": training.activation_checkpointing,
            "dataloader_pin_memory": cuda,
            "shuffle_dataset": False,  # the asks come in their order, each once
            "disable_tqdm": True,
            "report_to": "none",
            "logging_steps": 1,
            "save_steps": training.save_every * training.iterations,
            "save_total_limit": 2,
        }
        if training.algorithm == "rloo":
            return trl.RLOOConfig(**options)
        if training.entropy_floor is not None:
            options |= {"use_adaptive_entropy": True, "entropy_target": training.entropy_floor}
        return trl.GRPOConfig(**options)


class _Watch(transformers.TrainerCallback):  # type: ignore[misc]
    """Hands on what each optimizer step measured, and stops when told to."""

    def __init__(self, learned: Learned, iterations: int) -> None:
        self._learned = learned
        self._iterations = iterations

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        names = {
            "kl": "kl",
            "entropy": "entropy",
            "completions/mean_length": "tokens",
            "grad_norm": "gradient",
        }
        found = {name: float(logs[key]) for key, name in names.items() if logs.get(key) is not None}
        if found and state.global_step % self._iterations == 0:
            stop = self._learned(state.global_step // self._iterations - 1, found)
            control.should_training_stop = control.should_training_stop or stop is not None


class _Anchor(transformers.TrainerCallback):  # type: ignore[misc]
    """StablePrompt's anchor: it follows the policy whenever that has earned more than before (section 3).

    Whether it did is the mean reward since the last look. Rewards come from the trainer's own log, which is
    part of its checkpoints; the anchor's weights are saved beside them.
    """

    def __init__(self, trainer: Any, training: Training) -> None:
        self._trainer = trainer
        self._window = training.anchor_every * training.iterations

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._window:
            return
        # This step's own reward is logged only after this.
        earned = [entry["reward"] for entry in state.log_history if entry.get("reward") is not None]
        windows = [earned[at : at + self._window] for at in range(0, len(earned), self._window)]
        means = [sum(window) / len(window) for window in windows if window]
        if len(means) < 2 or means[-1] >= max(means[:-1]):
            for old, new in self._pairs():
                old.data.copy_(new.data)

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        """Yield each tensor of the anchor with the policy's."""
        policy, anchor = self._trainer.model, self._trainer.ref_model
        if anchor is not None:
            yield from zip(anchor.parameters(), policy.parameters(), strict=True)
            return
        named = dict(policy.named_parameters())
        for name, value in named.items():
            if ".default." in name:
                yield named[name.replace(".default.", ".ref.")], value

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._trainer.ref_model is None:
            return  # an adapter's anchor is an adapter, too, and saved as one
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        weights = {
            name: value.contiguous().clone() for name, value in self._trainer.ref_model.state_dict().items()
        }
        save_file(weights, folder / ANCHOR)


@contextmanager
def own_chance(threads: int | None) -> Iterator[None]:
    """Report to nobody, and leave the random numbers, threads, log levels and progress bars of others."""
    before = random.getstate(), np.random.get_state(), torch.get_num_threads()
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    told = huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True  # TRL reports every trainer that is made
    loud = [(log, log.level) for log in map(logging.getLogger, ("transformers", "trl", "accelerate"))]
    for log, _ in loud:
        log.setLevel(logging.ERROR)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(enabled=True), warnings.catch_warnings():
            # TRL still sets options by the names they had before.
            warnings.filterwarnings("ignore", r"`.*gradient_checkpointing.*` is deprecated", FutureWarning)
            yield
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
        huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = told
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_num_threads(before[2])
        for log, level in loud:
            log.setLevel(level)


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ModelError(
            "searcher rl.training.lora", "peft is not installed", do='pip install "promptopt[train]"'
        ) from error
    return peft


def _lora(rank: int) -> Any:
    return _peft().LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
