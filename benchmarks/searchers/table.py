"""Print results as Markdown: for each budget each searcher beside the floors, then scores by task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from promptopt.proof.stats import format_number, mean_interval, paired_interval

from .contenders import FLOORS
from .tasks import STARTS, TASKS

FORMS = tuple(dict.fromkeys(task.form for task in TASKS.values()))
Record = Mapping[str, Any]
Spot = tuple[str, int]
"""A task and a seed."""
Runs = Mapping[str, Mapping[Spot, Record]]
"""By searcher, then by task and seed."""


def print_tables(records: Sequence[Record]) -> None:
    """Print what the runs came to."""
    for calls in sorted({record["calls"] for record in records}):
        found: dict[str, dict[Spot, Record]] = defaultdict(dict)
        for record in records:
            if record["calls"] == calls and "error" not in record:
                found[record["searcher"]][record["task"], record["seed"]] = record
        if found:
            print(f"\n## {calls} calls\n\n" + "\n".join(by_searcher(found)))
            print("\n" + "\n".join(by_task(found)))
    for record in records:
        if "error" in record:
            where = " ".join(str(record[name]) for name in ("searcher", "task", "seed", "calls"))
            print(f"failed: {where}: {record['error']}")


def by_searcher(found: Runs) -> list[str]:
    """Return the summary: a line a searcher, best mean score first, differences to the floors paired."""
    names = ["searcher", "runs", "score", *(f"minus {floor}" for floor in FLOORS), *FORMS]
    lines = _head([*names, *(f"{start} start" for start in STARTS), "candidates", "calls", "tokens"])
    ranked = sorted(found.items(), key=lambda entry: -_score(entry[1].values()))
    for name, runs in ranked:
        lines.append(
            _line(
                [
                    name,
                    str(len(runs)),
                    _mean([record["score"] for record in runs.values()], [task for task, _ in runs]),
                    *(_against(runs, found.get(floor, {})) if floor != name else "" for floor in FLOORS),
                    *(_share(runs, lambda r, form=form: TASKS[r["task"]].form == form) for form in FORMS),
                    *(_share(runs, lambda r, start=start: r["start"] == start) for start in STARTS),
                    *(
                        f"{fmean(record[key] for record in runs.values()):,.0f}"
                        for key in ("candidates", "spent", "tokens")
                    ),
                ]
            )
        )
    return lines


def by_task(found: Runs) -> list[str]:
    """Return scores: a line a task, a column a searcher; mean and 95% interval over the seeds."""
    lines = _head(["task", "seed prompt", *found])
    for task in dict.fromkeys(task for runs in found.values() for task, _ in runs):
        mine = {name: [r for (of, _), r in runs.items() if of == task] for name, runs in found.items()}
        seeds = {record["seed"]: record["baseline"] for its in mine.values() for record in its}
        cells = [_mean([record["score"] for record in its]) for its in mine.values()]
        lines.append(_line([task, format_number(fmean(seeds.values())), *cells]))
    return lines


def _score(records: Any) -> float:
    return fmean(record["score"] for record in records)


def _share(runs: Mapping[Spot, Record], belongs: Callable[[Record], bool]) -> str:
    """Return the mean score of those runs that belong to a part of the bench."""
    its = [record for record in runs.values() if belongs(record)]
    return format_number(_score(its)) if its else "-"


def _against(runs: Mapping[Spot, Record], floor: Mapping[Spot, Record]) -> str:
    """Return the mean difference with its interval over tasks: the seeds of one task are not independent."""
    shared = {spot: record["score"] - floor[spot]["score"] for spot, record in runs.items() if spot in floor}
    if not shared:
        return "-"
    numbers = list(shared.values())
    interval = paired_interval(numbers, seed=0, groups=[task for task, _ in shared])
    return f"{format_number(fmean(numbers), sign=True)} {interval}"


def _mean(values: Sequence[float], groups: Sequence[str] | None = None) -> str:
    return f"{format_number(fmean(values))} {mean_interval(values, groups=groups)}" if values else "-"


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), _line(["---"] * len(names))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
