"""`promptopt doctor`: what is installed, what this machine has, what the target can really do."""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._options import Overrides, job_of

if TYPE_CHECKING:  # the help must not wait for these
    from ..contracts.model import LanguageModel, Outcome, Request

EXTRAS = {
    "base": ("promptopt", "numpy", "openai", "optuna", "pydantic", "typer", "rich", "PyYAML"),
    "local": ("torch", "transformers", "safetensors"),
    "train": ("trl", "peft", "datasets", "accelerate"),
    "text": ("sacrebleu", "rouge-score", "math-verify", "jinja2", "pyarrow", "datasets"),
    "samplers": ("cmaes", "scipy"),
    "track": ("mlflow-skinny", "wandb", "tensorboard"),
    "postgres": ("psycopg",),
    "scale": ("ray",),
}


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG", help="A job whose target is tried with a few calls.", show_default=False
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Say what is installed and what a job's models can do."""
    _say("python", f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}")
    for extra, packages in EXTRAS.items():
        _say(extra, _versions(extra, packages))
    _say("device", _device())
    if config is not None:
        _probe_roles(config, overrides)


def _versions(extra: str, packages: tuple[str, ...]) -> str:
    from importlib.metadata import PackageNotFoundError, version

    found, missing = [], []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    text = ", ".join(found)
    if missing:
        cure = f'pip install "promptopt[{extra}]"' if extra != "base" else "pip install promptopt"
        text += f"{'; ' if text else ''}missing {', '.join(missing)}: {cure}"
    return text


def _device() -> str:
    try:
        import torch
    except ImportError:
        return "local models need the extra `local`"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f"cuda: {', '.join(names)}"
    return f"{'mps' if torch.backends.mps.is_available() else 'cpu'}, {torch.get_num_threads()} threads"


def _probe_roles(config: Path, overrides: list[str] | None) -> None:
    from ..setup import build_models

    job = job_of(config, overrides)
    tried: list[Any] = []
    for role, model in build_models(job.roles).items():
        if any(model is known for known in tried):
            continue
        tried.append(model)
        _say(role, job.roles[role].model)
        _probe(model)


def _probe(model: LanguageModel) -> None:
    """Try the three things a model may be asked for; only an answer counts."""
    from ..contracts.model import Completion, Decoding, Failure, GenerateRequest
    from ..errors import ModelError
    from ..records import Message
    from ..session import PROBES

    hello = GenerateRequest((Message("user", "Say hello."),), Decoding(max_tokens=8))
    started = time.monotonic()
    outcome = _ask(model, hello)
    if isinstance(outcome, Failure):
        raise ModelError(model.identity.endpoint, f"no usable answer: {outcome.reason}", do=outcome.message)
    first = time.monotonic() - started
    started = time.monotonic()
    _ask(model, hello)
    _say("  answers", f"first after {first * 1000:.0f} ms, then {(time.monotonic() - started) * 1000:.0f} ms")
    if isinstance(outcome, Completion):
        _say("  reply", repr(outcome.text))
    able = {"likelihood": model.capabilities.likelihood, "insert": model.capabilities.insert}
    for what, word in (("likelihood", "log-probabilities"), ("insert", "insertion")):
        answer = _ask(model, PROBES[what]) if able[what] else Failure("unsupported")
        _say(f"  {word}", f"no ({answer.message or answer.reason})" if isinstance(answer, Failure) else "yes")
    _say("  version", model.identity.revision or "not told")


def _ask(model: LanguageModel, request: Request) -> Outcome:
    from ..contracts.model import GenerateRequest

    if isinstance(request, GenerateRequest):
        return next(outcome for _, outcome in model.generate([request]))
    return next(outcome for _, outcome in model.loglikelihood([request]))


def _say(key: str, text: str) -> None:
    print(f"{key:<20}{text}", flush=True)
