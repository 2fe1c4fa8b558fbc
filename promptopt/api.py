"""The public calls: optimize from Python, run a job file, resume, score prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from .api_compare import read_prompt
from .config import job_from_dict, load_job
from .contracts.model import Decoding, LanguageModel
from .contracts.reward import Reward
from .contracts.searcher import Searcher
from .contracts.selector import Selector
from .contracts.tracker import Tracker
from .data import Columns, Source
from .errors import ConfigError, did_you_mean
from .events import Listener, ignore
from .forecast import Forecast, foresee
from .from_python import as_record, setup_from_python
from .job import Job
from .plan import Plan, make_plan
from .programs import Program
from .prompt import Prompt
from .proof.pareto import Objective
from .records import Budget, Evaluation
from .report.write import execute_and_report
from .run import answers_in
from .runfolder import RunFolder
from .setup import Setup, from_job, read_rows
from .shared import announce, join, publish
from .splits import Sizes
from .stages import Run
from .strict_yaml import load as load_yaml
from .study import Study

Named = str | Mapping[str, Any]
Function = Callable[..., Any]


class Options(TypedDict, total=False):
    """What `optimize` takes besides its named arguments.

    Attributes:
        test: rows the verdict is spoken on; without it they are set aside from `train`.
        proposer: the model that writes prompts; default: the target.
        judge: the model that a reward such as `judge` asks; it has no default.
        selector: tells the best apart; default `paired_race`.
        program: how one answer is made from model calls; default `single`.
        optimize: parts of the prompt that may be changed (`promptopt.parts`); default the instruction alone.
        description: what the task is, in a sentence.
        name: what the run is called.
        seed: of everything random; default 0.
        samples: replies per prompt and row; default 1.
        finalists: prompts that meet on the select rows; default 5.
        objective: `pareto`, or a mapping with `name`, `cost`, `prefer`; default: the reward alone.
        decoding: how the target decodes; default: greedily, up to 64 tokens a reply, 256 if it reasons first.
        columns: which columns play which role.
        sizes: rows per split; `test` 0 is no test split, and an estimate instead of a proof.
        allow_duplicates: accept the same row in two splits.
        folder: parent of the run's folder (default `runs`), None to keep nothing; a folder that holds
            an interrupted run of the same job goes on where it was.
        listen: told what happens.
        reuse: folders of other runs whose answers cost nothing again.
        study: URL of a PostgreSQL database that keeps the run (`postgresql://HOST/DATABASE`): every process
            that makes the same call of `optimize` with it, on any machine, takes part in the run, each buys
            a share of the answers, and all return the same result. ?study=NAME at the end of the URL tells
            runs apart.
        trackers: told of the run's course besides its folder: names, mappings with `name` and options, or
            Trackers.
    """

    test: Source | None
    proposer: Named | LanguageModel | Function
    judge: Named | LanguageModel | Function
    selector: Named | Selector
    program: Named | Program
    optimize: Sequence[str]
    description: str
    name: str
    seed: int
    samples: int
    finalists: int
    objective: str | Mapping[str, Any] | Objective
    decoding: Decoding
    columns: Columns
    sizes: Sizes
    allow_duplicates: bool
    folder: str | Path | None
    listen: Listener
    reuse: Sequence[str | Path]
    study: str | None
    trackers: Sequence[Named | Tracker]


def optimize(
    *,
    prompt: str | Prompt,
    train: Source,
    target: Named | LanguageModel | Function,
    reward: Named | Reward | Function = "exact_match",
    search: Named | Searcher | Sequence[Named | Searcher] = "ape",
    budget: Budget | Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> Study:
    """Find a better prompt for a target model, and prove it on rows that nobody has seen.

    Args:
        prompt: the prompt to beat: a text with `{{column}}` slots, an instruction, or a Prompt.
        train: rows as dicts or Examples, or a file; split into search, select and test rows.
        target: `provider/name`, a mapping with `model` and options, a LanguageModel, or a function
            from messages to text.
        reward: a name, a mapping with `name` and options, a Reward, or a function of (example, text).
        search: a searcher's name, a mapping with `name` and options, or a Searcher. Several of them compete,
            each on an equal share of the budget: `study.leaderboard` has what each found, and the verdict is
            on the one whose prompt is best on the select rows.
        budget: hard caps; none means no cap.
        options: see `Options`.

    Raises:
        BadInput: something given is wrong; nothing was bought.
        BudgetExhausted: the budget ended before the verdict could be spoken.
        JournalError: the folder or the study holds another run, or cannot be used.
        ModelError: a model cannot be used at all.

    Example:
        >>> study = optimize(prompt="Answer: {{question}}", train=rows, target="embedded/small",
        ...                  reward="exact_match", search="ape", budget=Budget(calls=2000))
        >>> print(study.verdict.line)
    """
    known = (*Options.__annotations__, "prompt", "train", "target", "reward", "search", "budget")
    for key in options:
        if key not in known:
            raise ConfigError("optimize", f"unknown argument {key!r}", do=did_you_mean(key, known))
    parts: dict[str, Any] = {
        "prompt": prompt,
        "target": target,
        "reward": reward,
        "search": search,
        **options,
    }
    setup = setup_from_python(train, parts, as_record(Budget, budget or Budget(), "budget"))
    make_plan(setup)
    study, where = options.get("study"), options.get("folder", "runs")
    if study is not None:
        announce(study)
    folder = None if where is None else _folder(where, setup)
    return execute_and_report(
        setup,
        folder,
        listen=options.get("listen", ignore),
        reuse=[Path(p) for p in options.get("reuse", ())],
        study=folder.study if study is None and folder is not None else study,
    )


def run_job(
    job: Job,
    *,
    folder: str | Path | None = None,
    parent: str | Path = "runs",
    listen: Listener = ignore,
    reuse: Sequence[str | Path] = (),
) -> Study:
    """Run a job to its verdict.

    Args:
        job: from `config.load_job`.
        folder: the run's folder; None makes a new one under `parent`.
        parent: where runs are kept.
        listen: told what happens.
        reuse: folders of other runs whose answers cost nothing again.
    """
    rows = read_rows(job)
    setup = from_job(job, rows)
    make_plan(setup)
    if job.study is not None:
        publish(job.study, job, rows)
    place = RunFolder(folder) if folder is not None else RunFolder.create(parent, job.name)
    return execute_and_report(
        setup, place, listen=listen, reuse=[Path(path) for path in reuse], study=job.study
    )


def work(study: str, *, listen: Listener = ignore) -> Study:
    """Take part in a run that is kept in a PostgreSQL database, up to its verdict.

    Args:
        study: its URL, as `run_job` was given it in `job.study`. The job and its rows are read from there;
            models, and keys in the environment, are this machine's.
        listen: told what happens.

    Raises:
        JournalError: no run is there, or the database cannot be used.
        MissingExtra: psycopg is not installed.
    """
    return execute_and_report(join(study), listen=listen, study=study)


def plan(job: Job) -> Plan:
    """Return what a job will do and can cost; nothing is bought."""
    return make_plan(from_job(job))


def forecast(job: Job, *, latency: float | None = None) -> Forecast | str:
    """Return what a job will probably take, or why that cannot be said; nothing is bought.

    The run is played through with stand-ins for its models; models of this machine are tried for about two
    seconds first.

    Args:
        job: from `config.load_job`.
        latency: seconds that a model elsewhere takes to answer, if known.
    """
    return foresee(lambda: from_job(job), latency)


def resume(
    folder: str | Path,
    *,
    budget: Budget | None = None,
    listen: Listener = ignore,
    retry_failed: bool = False,
) -> Study:
    """Go on with an interrupted run: everything bought is taken from its journal.

    Args:
        folder: the run's folder.
        budget: other caps than the run was started with.
        listen: told what happens.
        retry_failed: ask again what failed, instead of taking the failure as given.
    """
    place = RunFolder.existing(folder)
    lock = load_yaml(place.lock_file).value
    if not isinstance(lock, dict) or "python" in lock:
        raise ConfigError(
            str(folder), "was started from Python", do=f"call optimize(..., folder={str(folder)!r}) again"
        )
    job = job_from_dict(lock, "/", str(place.lock_file))
    setup = from_job(job)
    if budget is not None:
        setup = replace(setup, budget=budget)
    return execute_and_report(setup, place, listen=listen, retry_failed=retry_failed, study=job.study)


def score(
    job: Job | str | Path,
    prompts: Sequence[str | Path | Prompt] = (),
    *,
    split: str = "select",
    rows: int | None = None,
    answers: str | Path | None = None,
    listen: Listener = ignore,
) -> list[tuple[Prompt, Evaluation]]:
    """Score prompts (none: the job's own) on rows of a split.

    Args:
        job: gives rows, target, reward and budget; or the path of its file.
        prompts: texts as a person writes them, run with the program of the job's own prompt; paths of files
            or runs; or Prompts.
        split: search, select or test.
        rows: only the first so many, in the job's seeded order.
        answers: a file that keeps every answer, so that an interrupted scoring goes on; None keeps nothing.
            What an answer once cost counts toward the job's budget again.
        listen: told what happens.

    Raises:
        BudgetExhausted: the job's budget does not carry all cells.
        JournalError: `answers` is no such file, or another process works on it.
        ModelError: the target cannot be used at all.
    """
    setup = from_job(job if isinstance(job, Job) else load_job(job))
    examples = setup.task.splits.of(split, "score")
    seed = setup.task.seed_prompt

    def read_one(given: str | Path | Prompt) -> Prompt:
        if isinstance(given, str):
            return replace(Prompt.parse(given, setup.task.fields), program=seed.program)
        return read_prompt(str(given), given, setup)

    read = [read_one(given) for given in prompts] or [seed]
    with answers_in(answers) as journal:
        run = Run(setup, journal, Path(), listen=listen)
        evaluations = run.scorer.evaluate(read, examples[:rows], setup.task.reward_name, split)
    return list(zip(read, evaluations, strict=True))


def _folder(where: str | Path, setup: Setup) -> RunFolder:
    """Return the interrupted run that `where` is, or a new run under it."""
    folder = RunFolder(where)
    begun = folder.journal.exists() or folder.lock_file.exists()
    return folder if begun else RunFolder.create(where, setup.name)
