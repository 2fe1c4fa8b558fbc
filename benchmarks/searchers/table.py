"""Print results as Markdown: scores by task, then each searcher beside the floors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from promptopt.proof.stats import format_number, mean_interval, paired_interval

from .contenders import FLOORS

Record = Mapping[str, Any]
Place = tuple[str, int]
"""A task and a seed."""


def print_tables(records: Sequence[Record]) -> None:
    """Print what the runs came to."""
    by_searcher: dict[str, dict[Place, Record]] = defaultdict(dict)
    for record in records:
        if "error" not in record:
            by_searcher[record["searcher"]][record["task"], record["seed"]] = record
    print("\n" + "\n".join(by_task(by_searcher)))
    print("\n" + "\n".join(by_gain(by_searcher)))
    failed = [record for record in records if "error" in record]
    for record in failed:
        print(f"failed: {record['searcher']} {record['task']} {record['seed']}: {record['error']}")


def by_task(found: Mapping[str, Mapping[Place, Record]]) -> list[str]:
    """Return test scores: a line a task, a column a searcher; mean and 95% interval over the seeds."""
    tasks = list(dict.fromkeys(task for runs in found.values() for task, _ in runs))
    lines = _head(["task", "seed prompt", *found])
    for task in tasks:
        runs = {name: [r for (of, _), r in runs.items() if of == task] for name, runs in found.items()}
        seeds = {record["seed"]: record["seed_score"] for mine in runs.values() for record in mine}
        cells = [_mean([record["score"] for record in mine]) for mine in runs.values()]
        lines.append(_line([task, format_number(fmean(seeds.values())), *cells]))
    return lines


def by_gain(found: Mapping[str, Mapping[Place, Record]]) -> list[str]:
    """Return the summary: a line a searcher, best mean score first."""
    names = ["searcher", "runs", "score", "gain", *(f"minus {floor}" for floor in FLOORS)]
    lines = _head([*names, "reliable", "candidates", "calls", "tokens", "seconds"])
    ranked = sorted(found.items(), key=lambda entry: -fmean(r["score"] for r in entry[1].values()))
    for name, runs in ranked:
        all_runs = list(runs.values())
        means = [
            f"{fmean(record[key] for record in all_runs):,.0f}"
            for key in ("candidates", "calls", "tokens", "seconds")
        ]
        lines.append(
            _line(
                [
                    name,
                    str(len(runs)),
                    format_number(fmean(record["score"] for record in all_runs)),
                    _paired({place: record["gain"] for place, record in runs.items()}),
                    *(_against(runs, found.get(floor, {})) if floor != name else "" for floor in FLOORS),
                    f"{sum(record['reliable'] for record in all_runs)}",
                    *means,
                ]
            )
        )
    return lines


def _against(runs: Mapping[Place, Record], floor: Mapping[Place, Record]) -> str:
    shared = {
        place: record["score"] - floor[place]["score"] for place, record in runs.items() if place in floor
    }
    return _paired(shared)


def _paired(gains: Mapping[Place, float]) -> str:
    """Return a mean with its interval over tasks: runs on one task are not independent."""
    if not gains:
        return "-"
    values = list(gains.values())
    interval = paired_interval(values, seed=0, groups=[task for task, _ in gains])
    return f"{format_number(fmean(values), sign=True)} {interval}"


def _mean(values: Sequence[float]) -> str:
    return f"{format_number(fmean(values))} {mean_interval(values)}" if values else "-"


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), _line(["---"] * len(names))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
