"""A run's live parts from the objects that the public calls are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from typing import Any, TypeVar

from . import data, plugins
from .callables import function_name
from .calls import FREE_ENDPOINTS
from .config import model_from_python
from .contracts.model import Decoding, LanguageModel
from .contracts.reward import Reward
from .contracts.searcher import Searcher
from .data import Columns, Rows, Source
from .errors import ConfigError
from .judging import check_judge
from .parts import open_parts
from .programs import REASONING_TOKENS, program_from_dict
from .prompt import Prompt
from .proof.pareto import Objective
from .records import Budget, Price
from .setup import Setup, build_model, check_searchers, label_entrants
from .splits import Sizes, make_splits, sizes_for
from .task import Task

T = TypeVar("T", Budget, Sizes, Objective)


def setup_from_python(train: Source, parts: Mapping[str, Any], budget: Budget) -> Setup:
    columns = parts.get("columns", Columns())
    rows = _rows(train, parts.get("test"), columns)
    seed = parts.get("seed", 0)
    splits = make_splits(
        rows,
        seed=seed,
        sizes=sizes_for(rows, as_record(Sizes, parts.get("sizes", Sizes()), "sizes")),
        allow_duplicates=parts.get("allow_duplicates", False),
    )
    prompt = _prompt(parts["prompt"], rows.fields, parts.get("program"))
    named = parts.get("optimize", ("instruction",))
    names = (named,) if isinstance(named, str) else tuple(named)
    open_parts(names, prompt)
    reward, reward_name = read_reward(parts["reward"])
    target, price = read_model(parts["target"], "target")
    given = {role: read_model(parts[role], role) for role in ("proposer", "judge") if role in parts}
    roles = {"target": (target, price), "proposer": (target, price), **given}
    models = {role: model for role, (model, _) in roles.items()}
    prices = {role: its for role, (_, its) in roles.items()}
    check_judge(reward, models, splits.search)
    task = Task(
        splits,
        rows.fields,
        prompt,
        reward,
        reward_name,
        parts.get("description", ""),
        names,
    )
    objective = parts.get("objective", Objective())
    weighed = as_record(
        Objective, {"name": objective} if isinstance(objective, str) else objective, "objective"
    )
    weighed.check(price)
    searchers = _searchers(parts["search"])
    check_searchers(searchers, task)
    if budget.usd is not None and None in prices.values():
        raise ConfigError(
            "budget.usd", "the price of a model is not known", do="give it: {'model': …, 'price': …}"
        )
    return Setup(
        name=parts.get("name", "run"),
        task=task,
        models=models,
        prices={role: known for role, known in prices.items() if known is not None},
        decoding=replace(parts.get("decoding", Decoding(reasoning_tokens=REASONING_TOKENS)), seed=seed),
        searcher=searchers[0][1],
        selector=_plugin("selectors", parts.get("selector", "paired_race")),
        budget=budget,
        seed=seed,
        samples=parts.get("samples", 1),
        finalists=parts.get("finalists", 5),
        objective=weighed,
        lock=_lock(parts, budget),
        entrants=label_entrants(searchers),
        trackers=[_plugin("trackers", given) for given in _several(parts.get("trackers", ()))],
    )


def _searchers(given: Any) -> list[tuple[str, Searcher]]:
    """Return the searchers with their names; at least one."""
    several = _several(given)
    if not several:
        raise ConfigError("search", "no searcher is given", do="name one, such as ape")
    return [(_searcher_name(one), _plugin("searchers", one)) for one in several]


def _several(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _searcher_name(given: Any) -> str:
    if isinstance(given, Mapping):
        return str(given.get("name", ""))
    return given if isinstance(given, str) else type(given).__name__


def as_record(kind: type[T], given: Any, where: str) -> T:
    """Accept a record, or a mapping of its fields as in a job file."""
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(where, f"not a {kind.__name__}", got=given, do=f"give promptopt.{kind.__name__}(…)")
    return plugins.construct(kind, dict(given), where)  # type: ignore[no-any-return]


def _rows(train: Source, test: Source | None, columns: Columns) -> Rows:
    rows = data.read(train, columns, name="train")
    if test is None:
        return rows
    return rows.assign("train") + data.read(test, columns, name="test").assign("test")


def _prompt(given: Any, fields: Sequence[str], program: Any) -> Prompt:
    prompt = given if isinstance(given, Prompt) else Prompt.parse(str(given), tuple(fields))
    prompt.template.check(fields)
    if program is None:
        return prompt
    spec = {"name": program} if isinstance(program, str) else program
    return replace(prompt, program=program_from_dict(dict(spec)) if isinstance(spec, Mapping) else spec)


def read_model(given: Any, role: str) -> tuple[LanguageModel, Price | None]:
    if isinstance(given, Mapping) and not isinstance(given.get("model"), str):
        model, _ = read_model(given.get("model"), role)
        return model, Price(**given["price"]) if "price" in given else None
    if isinstance(given, str | Mapping):
        spec = model_from_python(given, role)
        return build_model(spec), spec.list_price
    if isinstance(given, LanguageModel):
        return given, Price() if given.identity.endpoint in FREE_ENDPOINTS else None
    if callable(given):
        return plugins.build("models", "python", {"function": given}), None
    raise ConfigError(role, "not a model", got=given, do="give provider/name, a LanguageModel or a function")


def read_reward(given: Any) -> tuple[Reward, str]:
    if isinstance(given, str | Mapping):
        name = given if isinstance(given, str) else str(given.get("name"))
        return _plugin("rewards", given), name
    if isinstance(given, Reward):
        return given, type(given).__name__
    if callable(given):
        return plugins.build("rewards", "python", {"function": given}), function_name(given)
    raise ConfigError("reward", "not a reward", got=given, do="give a name, a Reward or a function")


def _plugin(kind: plugins.Kind, given: Any) -> Any:
    if isinstance(given, str):
        return plugins.build(kind, given)
    if isinstance(given, Mapping):
        options = dict(given)
        return plugins.build(kind, str(options.pop("name", "")), options)
    return given


def _lock(parts: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """Describe a run started from Python: enough to tell whether another one is the same."""
    told = (
        "target", "proposer", "judge", "reward", "search", "selector", "program", "optimize", "decoding",
        "seed", "samples",
    )  # fmt: skip
    described = {
        key: _describe(parts[key]) for key in (*told, "finalists", "objective", "sizes") if key in parts
    }
    caps = {key: value for key, value in asdict(budget).items() if value is not None}
    kept = {"study": study} if (study := parts.get("study")) is not None else {}
    return {"python": True, "name": parts.get("name", "run"), **described, "budget": caps, **kept}


def _describe(value: Any) -> Any:
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _describe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_describe(inner) for inner in value]
    if callable(value) and not isinstance(value, type) and not is_dataclass(value):
        return function_name(value)
    return repr(value) if is_dataclass(value) else type(value).__qualname__
