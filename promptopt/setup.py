"""A run's live parts, put together from a job file or from Python objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from . import data, plugins
from .contracts.model import Decoding, LanguageModel
from .contracts.searcher import ChecksTask, Searcher
from .contracts.selector import Selector
from .contracts.tracker import Tracker
from .data import Columns, Rows
from .errors import ConfigError
from .job import Job, ModelSpec, PluginSpec
from .judging import check_judge
from .parts import open_parts
from .proof.pareto import Objective
from .records import Budget, Price, digest
from .splits import Sizes, make_splits, sizes_for
from .task import Task


@dataclass(frozen=True)
class Setup:
    """Everything a run is made of.

    Attributes:
        name: what the run is called.
        task: rows, prompt to beat, reward.
        models: by role.
        prices: by role.
        decoding: how the target decodes.
        searcher: finds prompts.
        selector: tells the best apart.
        budget: hard caps.
        seed: of everything random.
        samples: replies per prompt and row.
        finalists: prompts that meet on the select rows, besides the seed prompt.
        objective: what the run is after.
        lock: the job as plain data, for the run's folder; what it says decides whether two runs are the same.
        entrants: searchers that compete, by name, each on an equal share of the budget; empty: `searcher`
            works alone.
        trackers: told of the run's course, besides its folder.
    """

    name: str
    task: Task
    models: Mapping[str, LanguageModel]
    searcher: Searcher
    selector: Selector
    prices: Mapping[str, Price] = field(default_factory=dict)
    decoding: Decoding = Decoding()
    budget: Budget = Budget()
    seed: int = 0
    samples: int = 1
    finalists: int = 5
    objective: Objective = Objective()
    lock: Mapping[str, Any] = field(default_factory=dict)
    entrants: Mapping[str, Searcher] = field(default_factory=dict)
    trackers: Sequence[Tracker] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of the job and of all rows; a resumed run may raise its budget or be kept elsewhere."""
        aside = ("budget", "name", "study", "trackers")
        job = {key: value for key, value in self.lock.items() if key not in aside}
        return digest([job, self.task.splits.fingerprint, self.task.seed_prompt.id])


def from_job(job: Job, rows: Rows | None = None) -> Setup:
    """Build the plug-ins of a job; no model is called.

    Args:
        job: from `config.load_job`.
        rows: its rows, if they have been read already.

    Raises:
        BadInput: the first thing that is wrong.
    """
    rows = read_rows(job) if rows is None else rows
    prompt = job.build_prompt(rows.fields)
    sizes = sizes_for(rows, Sizes(job.data.sizes.search, job.data.sizes.select, job.data.sizes.test))
    splits = make_splits(rows, seed=job.seed, sizes=sizes, allow_duplicates=job.data.allow_duplicates)
    reward = plugins.build("rewards", job.reward.name, job.reward.options)
    open_parts(job.optimize, prompt)
    task = Task(splits, rows.fields, prompt, reward, job.reward.name, job.description, job.optimize)
    searchers = [(spec.name, build_plugin("searchers", spec)) for spec in job.searchers]
    check_searchers(searchers, task)
    models = build_models(job.roles)
    check_judge(reward, models, splits.search)
    return Setup(
        name=job.name,
        task=task,
        models=models,
        prices=job.prices,
        decoding=job.target.decoding.to_record(job.seed),
        searcher=searchers[0][1],
        selector=build_plugin("selectors", job.selector),
        budget=job.budget.to_record(),
        seed=job.seed,
        samples=job.samples,
        finalists=job.finalists,
        objective=job.objective.to_record(),
        lock=job.to_lock(),
        entrants=label_entrants(searchers),
        trackers=[build_plugin("trackers", spec) for spec in job.trackers],
    )


def check_searchers(searchers: Sequence[tuple[str, Searcher]], task: Task) -> None:
    """Let searchers that can say so beforehand say that they do not fit the task.

    Raises:
        BadInput: the first one does not.
    """
    for _, searcher in searchers:
        if isinstance(searcher, ChecksTask):
            searcher.check(task.for_searcher())


def label_entrants(searchers: Sequence[tuple[str, Searcher]]) -> dict[str, Searcher]:
    """Name searchers that compete: the second `ape` is `ape-2`; one alone does not compete.

    Raises:
        ConfigError: the same searcher with the same options is there twice.
    """
    named: dict[str, Searcher] = {}
    for name, searcher in searchers if len(searchers) > 1 else ():
        if searcher in named.values():
            raise ConfigError(
                "search", f"{name!r} is there twice with the same options", do="take one out, or change it"
            )
        count = sum(known == name or known.startswith(f"{name}-") for known in named)
        named[f"{name}-{count + 1}" if name in named else name] = searcher
    return named


def build_plugin(kind: plugins.Kind, spec: PluginSpec) -> Any:
    """Build a plug-in from its part of the job."""
    return plugins.build(kind, spec.name, spec.options)


def build_models(roles: Mapping[str, ModelSpec]) -> dict[str, LanguageModel]:
    """Build one model object per role; roles that name the same model share one."""
    models: dict[str, LanguageModel] = {}
    built: dict[str, LanguageModel] = {}
    for role, spec in roles.items():
        same = digest([*spec.plugin])
        if same not in built:
            built[same] = build_model(spec)
        models[role] = built[same]
    return models


def build_model(spec: ModelSpec) -> LanguageModel:
    """Build a model from its part of the job."""
    model: LanguageModel = plugins.build("models", *spec.plugin)
    return model


def read_rows(job: Job) -> Rows:
    """Read the rows of a job.

    Raises:
        DataError: anything wrong with them, with its line.
    """
    spec = job.data
    columns = columns_of(job)
    sources = {"search": spec.search, "select": spec.select, "test": spec.test}
    if spec.path is not None:
        return data.read(spec.path, columns, format=spec.format)
    return reduce(
        add,
        (
            data.read(source, columns, format=spec.format).assign(split)
            for split, source in sources.items()
            if source is not None
        ),
    )


def columns_of(job: Job) -> Columns:
    """Return which columns play which role in the files of a job."""
    spec = job.data
    roles = ("answer", "options", "id", "group", "split")
    given = {key: getattr(spec, key) for key in roles if key in spec.model_fields_set}
    return Columns(inputs=spec.inputs, **given)
