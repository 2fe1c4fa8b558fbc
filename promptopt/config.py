"""Read a job file: every mistake is one line that names the file, the line and the cure."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from . import plugins, strict_yaml
from .contracts.reward import AsksJudge
from .data import HUB_PREFIX
from .errors import BadInput, ConfigError, PluginError, did_you_mean
from .job import DecodingSpec, Job, ModelSpec, PluginSpec
from .programs import PROGRAMS
from .prompt import Prompt
from .promptfile import exists, read_written
from .strict_yaml import Document, KeyPath

SHORT = {
    "data": "path", "prompt": "text", "target": "model", "proposer": "model", "judge": "model",
    "reward": "name", "search": "name", "selector": "name", "program": "name", "objective": "name",
}  # fmt: skip
"""Parts that may be given as plain text, and the key that text stands for."""
PLUGINS: dict[str, plugins.Kind] = {"reward": "rewards", "search": "searchers", "selector": "selectors"}
SECRET_KEY = re.compile(r"(?i)(api[-_]?key|secret|password|token|authorization|bearer)")
FUNCTION_FILE = re.compile(r"[^\n:]+\.py:[A-Za-z_]\w*")
SECRET_VALUE = re.compile(r"\b(sk-|hf_|AIza|ghp_)[A-Za-z0-9_-]{16,}|://[^/\s:@]+:[^/\s@]+@")

MODEL_SECRETS = "take it out, set it in the environment and name the variable with `api_key_env`"
OTHER_SECRETS = "take it out; trackers read their own variables (WANDB_API_KEY, MLFLOW_TRACKING_URI, …)"

AnySpec = TypeVar("AnySpec", ModelSpec, PluginSpec)


def load_job(path: str | Path, overrides: Sequence[str] = ()) -> Job:
    """Read a job file; relative paths in it start at its own folder.

    Args:
        path: the file, or a folder that holds a `promptopt.yaml`.
        overrides: `key=value` pairs with dotted keys, values read as YAML (`target.model=hf/gpt2`).

    Raises:
        BadInput: the first problem found.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "promptopt.yaml"
    document = strict_yaml.load(file)
    if not isinstance(document.value, dict):
        problem = "is empty" if document.value is None else "must hold `key: value` lines"
        raise ConfigError(document.source, problem, do="`promptopt init` writes one to start from")
    name = file.resolve().parent.name if file.stem == "promptopt" else file.stem
    data = {"name": _clean(name), **document.value}
    places = _Places(document)
    for override in overrides:
        data = _override(data, override, places)
    return _job(data, places, file.resolve().parent)


def job_from_dict(data: Mapping[str, Any], base: str | Path = ".", source: str = "job") -> Job:
    """Check a job given as plain data (`to_lock` writes it); relative paths start at `base`.

    Raises:
        BadInput: the first problem found; messages begin with `source`.
    """
    return _job(dict(data), _Places(Document(None, {}, source)), Path(base).resolve())


def model_from_python(given: str | Mapping[str, Any], role: str) -> ModelSpec:
    """Check a model given to a public call: `provider/name`, or a mapping with `model` and options.

    Raises:
        ConfigError: the first problem found; its message begins with `role`.
    """
    try:
        return ModelSpec.model_validate({"model": given} if isinstance(given, str) else dict(given))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, (role, *problem["loc"])))
        raise ConfigError(where, _message(problem), got=_shown(problem)) from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a job file, for editors; installed plug-ins are offered by name."""
    schema = Job.model_json_schema()
    names = {key: list(plugins.installed(kind)) for key, kind in PLUGINS.items()} | {
        "program": list(PROGRAMS)
    }
    one, several = schema["properties"]["search"].pop("oneOf")
    several["items"]["anyOf"].insert(0, {"enum": names["search"]})
    schema["properties"]["search"]["anyOf"] = [*one["anyOf"], several]
    for key, known in names.items():
        schema["properties"][key]["anyOf"].insert(0, {"enum": known})
    providers = [f"{name}/" for name in plugins.installed("models")]
    schema["$defs"]["ModelSpec"]["properties"]["model"]["examples"] = providers
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "promptopt job", **schema}


@dataclass
class _Places:
    """Where a part of the job was written: a line of the file, or a `--set`."""

    document: Document
    overridden: tuple[tuple[KeyPath, str], ...] = ()

    def where(self, path: KeyPath) -> str:
        for dotted, text in reversed(self.overridden):
            made = path not in self.document.lines and dotted[: len(path)] == path
            if made or path[: len(dotted)] == dotted:
                return f"--set {text}"
        return self.document.where(path)


def _job(data: dict[str, Any], places: _Places, base: Path) -> Job:
    _refuse_secrets(data, places)
    try:
        job = Job.model_validate(data)
    except ValidationError as error:
        raise _in_words(error, places) from error
    job = _with_prompt_file(_with_full_paths(job, base), base, places)
    _check_plugins(job, places)
    _check_prices(job, places)
    return job


# --- mistakes in words -------------------------------------------------------------------------------


def _in_words(error: ValidationError, places: _Places) -> ConfigError:
    """Turn the first problem into one line; an unknown key explains a missing one, so it goes first."""
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda p: p["type"] != "extra_forbidden")
    path: KeyPath = tuple(part for part in problem["loc"] if isinstance(part, int) or "[" not in part)
    where = places.where(path)
    dotted = ".".join(map(str, path))
    if problem["type"] == "extra_forbidden":
        inside = f" in {'.'.join(map(str, path[:-1]))}" if path[:-1] else ""
        return ConfigError(
            where, f"unknown key {path[-1]!r}{inside}", do=did_you_mean(str(path[-1]), _keys(path[:-1]))
        )
    if problem["type"] == "missing":
        inside = f"{'.'.join(map(str, path[:-1]))} needs" if path[:-1] else "the job needs"
        return ConfigError(where, f"{inside} the key {path[-1]!r}", do=_purpose(path))
    return ConfigError(where, f"{dotted} {_message(problem)}", got=_shown(problem))


def _message(problem: ErrorDetails) -> str:
    kind = problem["type"]
    words = {
        "int_parsing": "must be a whole number",
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_parsing": "must be a number",
        "float_type": "must be a number",
        "string_type": "must be text",
        "bool_type": "must be true or false",
        "tuple_type": "must be a list",
        "too_short": "must not be empty",
        "dict_type": "must hold `key: value` lines",
        "model_type": "must hold `key: value` lines",
        "model_attributes_type": "must hold `key: value` lines",
        "string_pattern_mismatch": "must be letters, digits, spaces, dots, hyphens and underscores",
    }
    if kind in words:
        return words[kind]
    text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return " ".join(text.split())


def _shown(problem: ErrorDetails) -> object:
    if isinstance(problem["input"], dict):
        return None
    return _Nothing() if problem["input"] is None else problem["input"]


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


def _spec(path: KeyPath) -> type[BaseModel] | None:
    """Return the model class at a path of the job, or None when it is not a part with keys."""
    here: type[BaseModel] | None = Job
    for key in path:
        if isinstance(key, int):
            continue
        field = here.model_fields.get(key) if here is not None else None
        here = _class_in(field.annotation) if field is not None else None
    return here


def _class_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in get_args(annotation) if (found := _class_in(part))), None)


def _keys(path: KeyPath) -> list[str]:
    spec = _spec(path)
    return [] if spec is None else list(spec.model_fields)


def _purpose(path: KeyPath) -> str:
    spec = _spec(path[:-1])
    field = spec.model_fields.get(str(path[-1])) if spec is not None else None
    return "" if field is None or not field.description else f"it is {field.description}"


# --- what pydantic cannot know -----------------------------------------------------------------------


def _override(data: dict[str, Any], text: str, places: _Places) -> dict[str, Any]:
    """Return `data` with `key=value` set; the key's parents are opened up from their short forms."""
    key, equals, value = text.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(f"--set {text}", "not key=value", do="write it like --set target.model=hf/gpt2")
    raw = value.strip()
    read = (
        strict_yaml.parse(raw, f"--set {key}").value
        if raw.startswith(("[", "{", '"', "'"))
        else strict_yaml.scalar(raw)
    )
    places.overridden = (*places.overridden, (path, text))
    result = dict(data)
    here = result
    for depth, part in enumerate(path[:-1]):
        inner = here.get(part, {})
        if isinstance(inner, str) and depth == 0 and part in SHORT:
            inner = {SHORT[part]: inner}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {text}", f"{part!r} has no keys of its own", got=inner)
        here[part] = dict(inner)
        here = here[part]
    here[path[-1]] = read
    return result


def _refuse_secrets(data: Mapping[str, Any], places: _Places) -> None:
    """Stop before a key is copied into the run folder; the message never shows the value."""
    for role in ("target", "proposer", "judge", "trackers"):
        for path, value in _leaves(data.get(role), (role,)):
            key = str(path[-1])
            named = SECRET_KEY.fullmatch(key.removeprefix("x-")) is not None
            if isinstance(value, str) and (named or SECRET_VALUE.search(value)):
                raise ConfigError(
                    places.where(path),
                    f"{'.'.join(map(str, path))} holds a secret",
                    do=OTHER_SECRETS if role == "trackers" else MODEL_SECRETS,
                )


def _leaves(value: Any, path: KeyPath) -> Iterable[tuple[KeyPath, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, value


def _with_full_paths(job: Job, base: Path) -> Job:
    """Resolve relative file names against the job file's folder."""
    files = job.data.model_dump(include={"path", "search", "select", "test"})
    full = {
        key: str(base / value) for key, value in files.items() if value and not value.startswith(HUB_PREFIX)
    }
    changes: dict[str, Any] = {"data": job.data.model_copy(update=full)}
    for role, spec in {"target": job.target, "proposer": job.proposer, "judge": job.judge}.items():
        if spec is not None:
            changes[role] = _with_full_functions(spec, base)
            if spec.name.startswith(("./", "../")) or FUNCTION_FILE.fullmatch(spec.name):
                model = f"{spec.provider}/{os.path.normpath(base / spec.name)}"
                changes[role] = changes[role].model_copy(update={"model": model})
    changes["reward"] = _with_full_functions(job.reward, base)
    return job.model_copy(update=changes)


def _with_full_functions(spec: AnySpec, base: Path) -> AnySpec:
    """Resolve options that name a function in a file: `metric.py:score`."""
    full = {
        key: os.path.normpath(base / value)
        for key, value in spec.options.items()
        if isinstance(value, str) and FUNCTION_FILE.fullmatch(value)
    }
    return spec.model_copy(update=full) if full else spec


def _with_prompt_file(job: Job, base: Path, places: _Places) -> Job:
    """Read the prompt's file now, so that the job says all there is to know of the run."""
    if job.prompt.file is None:
        return job
    file = base / job.prompt.file
    where = places.where(("prompt", "file"))
    if not exists(file):
        raise ConfigError(where, "no such prompt file", got=str(file))
    try:
        if file.suffix != ".json":
            written = read_written(file, file.name)
            spec = type(job.prompt)(text=written.text, system=written.system)
            return job.model_copy(update={"prompt": spec})
        saved = Prompt.load(file).to_dict()
    except BadInput as error:
        raise ConfigError(where, f"the prompt file cannot be read: {error}") from error
    if "adapter" in saved:
        raise ConfigError(
            where, "holds trained weights, which a job file cannot name", got=str(file),
            do="give it to promptopt.optimize(prompt=Prompt.load(file)), or compare it with others",
        )  # fmt: skip
    template = saved.pop("template")
    prompt = type(job.prompt).model_validate(
        {
            "instruction": saved["instruction"],
            "demonstrations": saved["demonstrations"],
            "retriever": saved.get("retriever"),
            **template,
        }
    )
    changes: dict[str, Any] = {"prompt": prompt}
    if "program" not in job.model_fields_set:
        changes["program"] = PluginSpec.model_validate(saved["program"])
    return job.model_copy(update=changes)


def _check_plugins(job: Job, places: _Places) -> None:
    """See that every plug-in is there and takes the options given; no model is called."""
    for role, spec in {"target": job.target, "proposer": job.proposer, "judge": job.judge}.items():
        if spec is not None:
            _check_plugin("models", (role,), spec.provider, spec, places)
    for role, spec in {"proposer": job.proposer, "judge": job.judge}.items():
        if spec is not None and spec.decoding != DecodingSpec():
            other = "searcher" if role == "proposer" else "reward"
            raise ConfigError(
                places.where((role, "decoding")), f"the {other} decides how the {role} writes",
                do="leave `decoding` out, or give it to the target",
            )  # fmt: skip
    for key, part in {"reward": job.reward, "selector": job.selector}.items():
        _check_plugin(PLUGINS[key], (key,), part.name, part, places)
    if job.judge is None and isinstance(
        plugins.build("rewards", job.reward.name, job.reward.options), AsksJudge
    ):
        raise ConfigError(
            places.where(("reward", "name")), f"the reward {job.reward.name} asks a judge, and none is named",
            do="add `judge: provider/model`; the target does not judge itself unless you name it there",
        )  # fmt: skip
    several = len(job.searchers) > 1
    for place, searcher in enumerate(job.searchers):
        path: KeyPath = ("search", place) if several else ("search",)
        _check_plugin("searchers", path, searcher.name, searcher, places)
    for place, tracker in enumerate(job.trackers):
        _check_plugin("trackers", ("trackers", place), tracker.name, tracker, places)
    try:
        job.build_program()
    except ConfigError as error:
        raise ConfigError(places.where(("program",)), str(error)) from error


def _check_plugin(
    kind: plugins.Kind, path: KeyPath, name: str, spec: ModelSpec | PluginSpec, places: _Places
) -> None:
    where = places.where((*path, "model" if isinstance(spec, ModelSpec) else "name"))
    known = plugins.installed(kind)
    if name not in known:
        word = "provider" if kind == "models" else kind[:-1]
        raise PluginError(where, f"unknown {word} {name!r}", do=did_you_mean(name, known))
    try:
        factory = plugins.load(kind, name)
    except BadInput as error:
        raise PluginError(where, str(error)) from error
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for option in spec.options:
        if option not in parameters and not takes_any:
            own = [key for key in type(spec).model_fields if key not in spec.model_fields_set]
            raise PluginError(
                places.where((*path, option)), f"unknown option {option!r} of the {kind[:-1]} {name!r}",
                do=did_you_mean(option, [*parameters, *own] or ["(none)"]),
            )  # fmt: skip
    options = {"name": spec.name, **spec.options} if isinstance(spec, ModelSpec) else spec.options
    try:
        plugins.construct(factory, options, f"{kind[:-1]} {name}")
        if isinstance(spec, ModelSpec) and spec.executor == "ray":
            plugins.build("models", *spec.plugin)
    except BadInput as error:
        # A plug-in that reads a part of the job itself says where in it the mistake is: `search.slots.role`.
        inside = error.where.split(".")[1:] if error.where.startswith(f"{path[0]}.") else []
        named = (int(part) if part.isdecimal() else part for part in inside)
        raise PluginError(places.where((*path, *named)), str(error)) from error


def _check_prices(job: Job, places: _Places) -> None:
    """A cap in dollars, or dollars to weigh, mean nothing for a model whose price is not known."""
    try:
        job.objective.to_record().check(job.target.list_price)
    except ConfigError as error:
        raise ConfigError(places.where(("objective", "cost")), str(error)) from error
    if job.budget.usd is None:
        return
    for role, spec in job.roles.items():
        if spec.list_price is None:
            raise ConfigError(
                places.where(("budget", "usd")), f"the price of the {role} {spec.model!r} is not known",
                do=f"add `{role}: {{model: {spec.model}, price: {{input: …, output: …}}}}` in US dollars per "
                "million tokens (0 for a server of your own)",
            )  # fmt: skip


def _clean(name: str) -> str:
    """Turn a file or folder name into a run's name."""
    return re.sub(r"[^\w .-]+", "-", name).strip(" .-") or "job"
