"""Print results as Markdown: scores by task with paired differences, and the conditional task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from promptopt.proof.stats import format_number, paired_interval

Record = Mapping[str, Any]


def by_task(records: Sequence[Record]) -> list[str]:
    """Return a line a task: scores, and what `rl` is ahead of each rival, with 95% intervals."""
    found = {(r["contender"], r["task"], r["seed"]): r for r in records if "error" not in r}
    names = list(dict.fromkeys(name for name, _, _ in found))
    tasks = list(dict.fromkeys(task for _, task, _ in found))
    rivals = [name for name in names if name != "rl"] if "rl" in names else []
    head = ["task", "prompt to beat", *names, *(f"rl minus {rival}" for rival in rivals), "target calls"]
    lines = [_line(head), _line(["---"] * len(head))]
    for task in tasks:
        mine = [r for (_, its, _), r in found.items() if its == task]
        runs = [[r for r in mine if r["contender"] == name] for name in names]
        cells = [task, format_number(fmean(r["seed_score"] for r in mine))]
        cells += [format_number(fmean(r["score"] for r in its)) if its else "-" for its in runs]
        cells += [difference([gap for _, gap in gaps(found, rival, task)]) for rival in rivals]
        calls = [f"{fmean(r['target_calls'] for r in its):.0f}" if its else "-" for its in runs]
        lines.append(_line([*cells, " / ".join(calls)]))
    for rival in rivals:
        every = [pair for task in tasks for pair in gaps(found, rival, task)]
        ahead = [task for task in tasks if fmean([0.0, *(gap for _, gap in gaps(found, rival, task))]) > 0]
        text = difference([gap for _, gap in every], [task for task, _ in every])
        lines.append(f"\nrl minus {rival}, all tasks: {text}; ahead on {len(ahead)} of {len(tasks)}")
    failed = [r for r in records if "error" in r]
    return lines + [f"failed: {r['contender']} {r['task']} {r['seed']}: {r['error']}" for r in failed]


def gaps(found: Mapping[tuple[str, str, int], Record], rival: str, task: str) -> list[tuple[str, float]]:
    """Return what `rl` scored more than a rival, by the task, seed by seed where both ran."""
    return [
        (task, record["score"] - found[rival, task, seed]["score"])
        for (name, its, seed), record in found.items()
        if name == "rl" and its == task and (rival, task, seed) in found
    ]


def conditional(records: Sequence[Record]) -> list[str]:
    """Return what untrained and trained generators are worth on messages of no training."""
    lines = [_line(["seed", "rows", "untrained", "trained", "times"]), _line(["---"] * 5)]
    ratios = []
    for record in records:
        before, after = record["seed_score"], record["score"]
        ratios += [after / before] if before else []
        times = format_number(after / before) if before else "-"
        cells = [str(record["seed"]), str(record["rows"]), format_number(before), format_number(after)]
        lines.append(_line([*cells, times]))
    if ratios:
        lines.append(f"\n{format_number(min(ratios))} to {format_number(max(ratios))} times the untrained")
    return [
        *lines,
        f"\ntrained minus untrained: {difference([r['score'] - r['seed_score'] for r in records])}",
    ]


def difference(values: Sequence[float], groups: Sequence[str] | None = None) -> str:
    """Return a mean difference with its interval over seeds, or over groups; one value has none."""
    if len(values) < 2:
        return format_number(values[0], sign=True) if values else "-"
    return f"{format_number(fmean(values), sign=True)} {paired_interval(values, seed=0, groups=groups)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
