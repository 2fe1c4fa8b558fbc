"""`promptopt doctor`: what is installed, what this machine has, what the target can really do."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._options import Overrides, job_of

if TYPE_CHECKING:  # the help must not wait for these
    from ..contracts.model import LanguageModel, Outcome, Request
    from ..job import ModelSpec

DEFAULT_KEY, BASE_URL, OPENAI = "OPENAI_API_KEY", "OPENAI_BASE_URL", "https://api.openai.com/v1"
EXTRAS = {
    "base": (
        "promptopt",
        "numpy",
        "openai",
        "optuna",
        "pydantic",
        "typer",
        "rich",
        "PyYAML",
        "jinja2",
        "starlette",
        "uvicorn",
    ),
    "local": ("torch", "transformers", "safetensors"),
    "train": ("trl", "peft", "datasets", "accelerate"),
    "text": ("sacrebleu", "rouge-score", "math-verify", "pyarrow", "datasets"),
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
    """Say what is installed, what this machine has, what a job's models can do; no key is ever printed."""
    _say("python", f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}")
    for extra, packages in EXTRAS.items():
        _say(extra, _versions(extra, packages))
    for line in _devices():
        _say("device", line)
    _say("key", _key(DEFAULT_KEY))
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


def _devices() -> list[str]:
    """Say what local models can run on; every GPU is tried."""
    try:
        import torch
    except ImportError:
        return ["local models need the extra `local`"]
    gpus = [_gpu(torch, index) for index in range(torch.cuda.device_count())]
    other = "mps" if torch.backends.mps.is_available() else "cpu"
    return gpus or [f"{other}, {torch.get_num_threads()} threads{'' if other == 'mps' else _of_kernels()}"]


def _of_kernels() -> str:
    """Say whether a CPU runs the kernels in C."""
    from ..models import _kernels

    if _kernels.loaded() is not None:
        return ", kernels compiled"
    if os.environ.get(_kernels.SWITCH) == "off":
        return f", kernels turned off by {_kernels.SWITCH}"
    return ", no kernels (they need a C compiler, cc): local models work, and take longer"


def _gpu(torch: Any, index: int) -> str:
    name, (major, minor) = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    try:
        free, total = torch.cuda.mem_get_info(index)
        ones = torch.ones(64, 64, device=f"cuda:{index}", dtype=torch.bfloat16)
        works = "works" if float((ones @ ones)[0, 0]) == 64 else "computes wrongly"
    except RuntimeError as error:  # in use by others, or not made for this build of torch
        return f"cuda:{index} {name}: cannot be used ({' '.join(str(error).split())[:120]})"
    memory = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return f"cuda:{index} {name}, {memory}, sm_{major}{minor}, {works}"


def _key(variable: str) -> str:
    """Say whether a key is there, never what it is."""
    from ..redact import secret

    return f"{variable} is {'set' if secret(variable) else 'not set'}"


def _probe_roles(config: Path, overrides: list[str] | None) -> None:
    """Try each model of a job; what is wrong with one does not keep the others from being tried."""
    from ..errors import PromptOptError
    from ..redact import redact
    from ..setup import build_model

    job = job_of(config, overrides)
    tried: list[Any] = []
    failed: list[PromptOptError] = []
    for role, spec in job.roles.items():
        same = (spec.model, spec.options)
        if same in tried:
            continue
        tried.append(same)
        _say(role, spec.model)
        servers = _servers(spec)
        if spec.provider == "openai":
            if not servers:
                _say(
                    "  endpoint",
                    redact(str(spec.options.get("base_url") or os.environ.get(BASE_URL) or OPENAI)),
                )
            _say("  key", _key(str(spec.options.get("api_key_env") or DEFAULT_KEY)))
        for url, each in servers.items() or [("", spec)]:
            try:
                found = _probe(build_model(each))
            except PromptOptError as error:
                found = {"problem": str(error)}
                failed.append(error)
            if url:
                _say(
                    "  server", f"{redact(url)}: {'; '.join(f'{key} {text}' for key, text in found.items())}"
                )
            else:
                for key, text in found.items():
                    _say(f"  {key}", text)
    if failed:
        raise failed[0]


def _servers(spec: ModelSpec) -> dict[str, ModelSpec]:
    """Return a fleet's model at each server, by URL: together they would hide which of them is ill."""
    data = spec.model_dump(exclude_unset=True)
    urls = data.pop("endpoints", ())
    data.pop("fleet", None)
    return {str(url): type(spec).model_validate({**data, "base_url": url}) for url in urls}


def _probe(model: LanguageModel) -> dict[str, str]:
    """Try the three things a model may be asked for, and return what came of each; only an answer counts.

    Raises:
        ModelError: it does not complete a text.
    """
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
    again = time.monotonic() - started
    found = {"answers": f"first after {first * 1000:.0f} ms, then {again * 1000:.0f} ms"}
    if isinstance(outcome, Completion):
        found["reply"] = repr(outcome.text)
    able = {"likelihood": model.capabilities.likelihood, "insert": model.capabilities.insert}
    for what, word in (("likelihood", "log-probabilities"), ("insert", "insertion")):
        answer = _ask(model, PROBES[what]) if able[what] else Failure("unsupported")
        found[word] = f"no ({answer.message or answer.reason})" if isinstance(answer, Failure) else "yes"
    return {**found, "version": model.identity.revision or "not told"}


def _ask(model: LanguageModel, request: Request) -> Outcome:
    from ..contracts.model import GenerateRequest

    if isinstance(request, GenerateRequest):
        return next(outcome for _, outcome in model.generate([request]))
    return next(outcome for _, outcome in model.loglikelihood([request]))


def _say(key: str, text: str) -> None:
    from ..visible import one_line

    print(f"{key:<20}{one_line(text)}", flush=True)
