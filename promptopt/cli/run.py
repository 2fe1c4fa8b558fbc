"""`promptopt run` and `resume`: the plan, the run while it goes on, and its verdict as the last line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._options import Config, Overrides, Seed, job_of

if TYPE_CHECKING:  # the help must not wait for these
    from ..events import Listener
    from ..forecast import Forecast
    from ..job import Job
    from ..plan import Plan
    from ..records import Budget
    from ..study import Study

WINS = {"reward": "the best reward wins", "cheap": "the cheapest within the noise of the best wins"}


def run(
    config: Config,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan, its ceilings and what it will probably take; buy nothing."
        ),
    ] = False,
    latency: Annotated[
        float | None,
        typer.Option(
            help="With --dry-run: seconds a remote model takes to answer.", min=0.0, show_default=False
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Keep the run here; default: a new folder in runs/.", show_default=False),
    ] = None,
    seed: Seed = None,
    overrides: Overrides = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            help="A run whose answers are taken over for free; may be given again.", show_default=False
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME…]",
            help="Another searcher than the job's, or several that compete: each gets an equal share of the "
            "budget and pays for its own cells as if it were alone (none is bought twice); the run ends in "
            "a leaderboard, its winner chosen on the select rows.",
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Keep the run in this PostgreSQL database: `promptopt worker --study URL` takes part in it "
            "from any machine; ?study=NAME at the end of the URL tells runs apart.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict only.")] = False,
) -> None:
    """Search, choose and prove a better prompt."""
    from ..api import forecast, plan, run_job
    from ..runfolder import RunFolder

    job = job_of(config, overrides, seed, search, study)
    planned = plan(job)
    if not quiet or dry_run:
        print_plan(job, planned)
    if dry_run:
        print_forecast(forecast(job, latency=latency))
        return
    place = RunFolder(folder) if folder is not None else RunFolder.create("runs", job.name)
    _watched(
        lambda listen: run_job(job, folder=place.path, listen=listen, reuse=reuse or ()),
        job.name,
        place.path,
        quiet=quiet,
        fresh=folder is None,
    )


def resume(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder, such as runs/latest.")],
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Ask again what failed, instead of taking the failure as given."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict only.")] = False,
) -> None:
    """Go on with an interrupted run; nothing is bought twice."""
    from ..api import resume as resume_run
    from ..runfolder import RunFolder

    place = RunFolder.existing(folder)
    _watched(
        lambda listen: resume_run(place.path, listen=listen, retry_failed=retry_failed),
        place.path.name,
        place.path,
        quiet=quiet,
        fresh=False,
    )


def print_plan(job: Job, planned: Plan) -> None:
    """Print what a job will do, and what it can cost at most."""
    from ..progress import count, usd_text
    from ._table import say

    search, select, test = planned.rows
    cap = planned.budget
    proposer = job.roles["proposer"].model
    proof = f"{count(test)} test (sealed until the end)" if test else "no test rows"
    lines = {
        "rows": f"{count(search)} search, {count(select)} select, {proof}",
        "target": f"{job.target.model}, judged by {job.reward.name}"
        + (f" ({job.judge.model})" if job.judge is not None else ""),
        "search": f"{', '.join(spec.name for spec in job.searchers)}, prompts written by "
        + ("the target itself" if proposer == job.target.model else proposer),
        "select": f"{job.selector.name}, {job.finalists} finalists",
        "calls": f"{count(planned.baseline_calls)} for your prompt, at most {count(planned.final_calls)} "
        "to choose and prove",
    }
    if planned.final_usd > 0:
        lines["calls"] += f" (at worst {usd_text(planned.final_usd)})"
    if planned.search_calls is not None:
        lines["calls"] += f", {count(planned.search_calls)} left to search"
    if planned.searchers > 1:
        share = _caps(planned.share)
        lines["compete"] = (
            f"{planned.searchers} searchers, one after the other, as if each were alone"
            + (f" with {share}" if share else "")
            + "; no answer is bought twice"
        )
    caps = _caps(cap)
    if job.objective.name == "pareto":
        lines["weigh"] = (
            f"reward against {job.objective.cost.replace('_', ' ')}, {WINS[job.objective.prefer]}"
        )
    if job.trackers:
        lines["track"] = ", ".join(tracker.name for tracker in job.trackers)
    if planned.search_calls == 0:
        enough = planned.baseline_calls + planned.final_calls
        lines["note"] = f"no calls are left to search with; give budget.calls well over {count(enough)}"
    lines["ceiling"] = caps or "none: the search ends by itself; set `budget` for a hard cap"
    lines["power"] = planned.power.line
    for key, text in [*lines.items(), *(("note", note) for note in planned.notes)]:
        say(key, text, 9)
    sys.stdout.flush()


def _caps(budget: Budget) -> str:
    """Return the caps of a budget in words; empty if there is none."""
    from ..progress import count, tokens_text, usd_text

    caps = [f"{count(budget.calls)} calls"] if budget.calls is not None else []
    caps += [f"{tokens_text(budget.tokens)} tokens"] if budget.tokens is not None else []
    caps += [usd_text(budget.usd)] if budget.usd is not None else []
    caps += [f"{budget.minutes:g} minutes"] if budget.minutes is not None else []
    return ", ".join(caps)


def print_forecast(found: Forecast | str) -> None:
    """Print what a job will probably take."""
    from ..progress import amounts, clock_text
    from ._table import say

    if isinstance(found, str):
        say("expect", f"not known: {found}", 9)
        return
    taken = "" if found.seconds is None else f", {clock_text(found.seconds)}"
    say("expect", f"about {amounts(found.total)}{taken}", 9)
    if found.power is not None:
        say("power", f"as tried: {found.power.line}", 9)
    for note in found.notes:
        say("", note, 9)


def print_study(study: Study, place: Path) -> None:
    """Print the winner, where it is, what it cost and, last, the verdict."""
    from ..parts import PARTS
    from ..progress import amounts, clock_text
    from ..runfolder import RunFolder
    from ..visible import one_line, visible
    from ._leaderboard import print_leaderboard
    from ._table import say

    print()
    if study.leaderboard:
        print_leaderboard(study.leaderboard)
        print()
    if study.best == study.seed_prompt:
        print("best prompt: yours")
    else:
        proven = "best prompt" if study.verdict.reliable else "best on the select rows, but not proven"
        print(f"{proven} ({one_line(study.best.origin)}):")
        print("\n".join(f"  {line}" for line in visible(study.best.instruction).splitlines()))
        for part in PARTS.values():
            if part.name != "instruction" and part.get(study.best) != part.get(study.seed_prompt):
                print(f"  {part.name}: {one_line(part.get(study.best))}")
        if study.best.adapter is not None:
            print(f"  with {one_line(study.best.adapter.label)}")
        if study.best.program != study.seed_prompt.program:
            print(f"  program: {study.best.program.name}")
        if study.best.demonstrations:
            print(f"  with {len(study.best.demonstrations)} demonstrations")
        if (retriever := study.best.retriever) is not None:
            print(f"  with the {retriever.k} of {len(retriever.pool)} demonstrations most like each row")
    if study.finals is not None:
        say("why:", study.finals.why)
    if study.gap is not None:
        say("gap:", study.gap.line)
    if study.power is not None:
        say("power:", study.power.line)
    say("saved:", _shown(place / "best" / "prompt.json"))
    if (page := RunFolder(place).report_file).exists():
        say("report:", _shown(page))
    judged = study.spent.get("judge")
    of_judge = f" (the judge: {amounts(judged)})" if judged is not None else ""
    say("spent:", f"{amounts(study.total)}{of_judge}, {clock_text(study.seconds)}")
    if study.objective.name == "pareto":
        print_front(study)
    for found in study.search_notes:
        say("found:", found.text)
    for note in study.notes:
        say("note:", note)
    say("", study.verdict.line, 0)


def print_front(study: Study) -> None:
    """Print the finalists that no other beats in reward and cost."""
    from rich.text import Text

    from ..proof.stats import format_number
    from ..visible import one_line
    from ._table import console, table

    if not study.front:
        print("front:  none; the target counts no tokens")
        return
    priced = any(point.cost.usd for point in study.front)
    costs = {"prompt tokens": 13, "output tokens": 13} | ({"$ per 1,000": 11} if priced else {})
    drawn = table("", {"mean": 5, "interval": 9, **costs})
    drawn.add_column("prompt", overflow="ellipsis", no_wrap=True)
    for point in study.front:
        drawn.add_row(
            "*" if point.prompt == study.best else "",
            format_number(point.mean),
            Text(str(point.interval)),
            f"{point.cost.prompt_tokens:,.1f}",
            f"{point.cost.output_tokens:,.1f}",
            *([f"{point.cost.usd:,.4g}"] if priced else []),
            Text(one_line(point.prompt.label)),
        )
    weighed = study.objective.cost.replace("_", " ")
    print(f"front:  reward on the select rows against {weighed} of an answer; * is the winner", flush=True)
    console().print(drawn)


def _watched(
    start: Callable[[Listener], Study], title: str, place: Path, *, quiet: bool, fresh: bool
) -> None:
    from ..interrupt import drained
    from ..progress import progress_for

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with (
        _way_on(place, fresh),
        progress_for(sys.stdout, title, quiet=quiet) as progress,
        drained(say),
    ):
        study = start(progress)
    if quiet:
        print(study.verdict.line)
    else:
        print_study(study, place)


@contextmanager
def _way_on(place: Path, fresh: bool) -> Iterator[None]:
    """Tell how a run that stops early is taken up again; a new one that bought nothing leaves no folder.

    A model that never answered anything is a mistake in the job (a wrong address or name), while one that
    stops answering is not: the exit codes tell them apart.
    """
    from ..errors import AuthError, BadInput, ConfigError, JournalError, ModelError, PromptOptError
    from ..runfolder import RunFolder

    try:
        yield
    except JournalError:
        if fresh and not RunFolder(place).journal.exists():  # nothing has begun here
            RunFolder(place).discard()
        raise
    except (KeyboardInterrupt, PromptOptError) as error:
        if (study := RunFolder(place).study) is not None:
            print(
                f"what was bought is kept; go on with: promptopt resume {_shown(place)}, or end it elsewhere "
                f"with: promptopt worker --study '{study}'",
                flush=True,
            )
            raise
        bought = _bought(place)
        if bought and isinstance(error, BadInput):
            print(f"{bought:,} calls are kept; run again with: --reuse {_shown(place)}", flush=True)
        elif bought:
            print(f"{bought:,} calls are kept; go on with: promptopt resume {_shown(place)}", flush=True)
        elif fresh:
            RunFolder(place).discard()
        if not bought and isinstance(error, ModelError) and not isinstance(error, AuthError):
            raise ConfigError(error.where, error.problem, got=error.got, do=error.do) from error
        raise


def _bought(place: Path) -> int:
    """Return how many calls the run's journal holds."""
    from ..journal import Journal
    from ..runfolder import RunFolder

    file = RunFolder(place).journal
    if not file.exists():
        return 0
    with Journal(file, read_only=True) as journal:
        return journal.count("calls")


def _shown(path: Path) -> str:
    """Return the path as short as it can be written from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
