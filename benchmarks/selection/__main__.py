"""What choosing costs and what it is worth: cells, regret and false claims of every selector.

    python -m benchmarks.selection                    # everything, some minutes on an idle core
    python -m benchmarks.selection --parts regret --repeats 100 --tables my_scores.csv.gz
    python -m benchmarks.selection --parts regret --only "race (adj" --pools .csv --near 1

Four parts: `regret` (64 prompts x 500 rows: cells and regret of the selectors and of what rivals do), `curve`
(regret as each is given more cells), `null` (all prompts equal: how often is an improvement claimed?), `same`
(same seed, same data: the same choice, in whatever order the answers come). Pools are simulated (pools.py)
and, where benchmarks/tables holds any, drawn from recorded score tables (record_tables.py).

A model answers all clear wordings alike, so a recorded table may hold many prompts that no rule can tell
apart. Each of them meets its share of the rows before the race lets it go, which costs cells: `--near` keeps
only so many of the prompts within a point of the best, and shows what the others cost.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from .contenders import RIVALS_SHARE, SELECTORS, SLOW, chooser, curves, rivals
from .null import SEARCHERS, Claims, claims
from .pools import POOLS, Drawn, find_tables, table_pool
from .regret import Figures, measure
from .same import check_same

T = TypeVar("T")
Drawing = tuple[int, int, int, int, int | None]
"""Repeats, prompts, rows, seed, prompts within a point of a recorded table's best to keep (None: all)."""

CURVE_POOLS = ("hard logit", "spread logit")
CHOOSERS = {name: chooser(selector) for name, selector in SELECTORS.items()} | rivals(RIVALS_SHARE)


def main() -> int:
    """Run the parts asked for."""
    options = _options()
    began, failed = time.perf_counter(), False
    parts = options.parts.split(",")
    if "regret" in parts:
        _regret(options)
    if "curve" in parts:
        _curve(options)
    if "null" in parts:
        failed |= _null(options)
    if "same" in parts:
        failed |= _same(options)
    spent = sum(os.times()[:4])
    print(f"\n{time.perf_counter() - began:.0f} seconds, {spent:.0f} of a processor")
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.selection", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--parts", default="regret,curve,null,same", help="some of these")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--runs", type=int, default=1000, help="runs of the null control")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="selectors whose name contains one of these (a,b)")
    parser.add_argument("--pools", default="", help="pools whose name contains one of these (a,b)")
    parser.add_argument(
        "--near", type=int, help="of a table's prompts within a point of its best, keep only so many"
    )
    parser.add_argument("--tables", type=Path, nargs="*", default=[], help="score tables (benchmarks/tables)")
    parser.add_argument("--processes", type=int, default=1)
    return parser.parse_args()


def _regret(options: argparse.Namespace) -> None:
    """Print cells and regret by pool."""
    drawing = (options.repeats, options.prompts, options.rows, options.seed, options.near)
    print(f"{options.prompts} prompts x {options.rows} rows, {options.repeats} repeats (a third of them for")
    print(f"selectors named {', '.join(SLOW)}); points of accuracy.")
    print("cells: 1/x of the full grid. short: mean score on all rows below the table's best; <=1: share of")
    print("repeats within 1 point of it. true: the same against the best true accuracy, which the full grid")
    print("does not know either. bias: the winner's own score, on the rows it met, above its true accuracy.")
    pools = [pool.name for pool in POOLS] + [str(path) for path in find_tables(options.tables)]
    names = _wanted(CHOOSERS, options.only)
    for pool in _wanted(pools, options.pools):
        drawn = _drawn(pool, *drawing)
        mean = sum(float(d.true.mean()) for d in drawn) / len(drawn)
        spread = sum(float(d.true.std()) for d in drawn) / len(drawn)
        near = sum(d.near for d in drawn) / len(drawn)
        print(
            f"\n{Path(pool).name}: mean {mean:.2f}, standard deviation {spread:.3f}, "
            f"{near:.1f} of {len(drawn[0].true)} within a point of the best"
        )
        print(f"{'':<36}{'cells':>8}{'short':>12}{'<=1':>6}{'true':>7}{'<=1':>6}{'bias':>7}{'ms':>7}")
        for name, figures in _each(partial(_measured, pool, drawing), names, options.processes):
            print(_line(name, figures), flush=True)


def _curve(options: argparse.Namespace) -> None:
    """Print cells -> regret of each kind of selector as it is given more to spend."""
    drawing = (options.repeats, options.prompts, options.rows, options.seed, None)
    print(
        "\nCells -> points below the table's best (share of repeats within 1 point), as each is given more:"
    )
    names = _wanted(curves(), options.only)
    for pool in _wanted(CURVE_POOLS, options.pools):
        print(f"\n{pool}")
        for name, points in _each(partial(_points, pool, drawing), names, options.processes):
            shown = "   ".join(f"{f'1/{1 / f.share:.1f}':>6} {f.short:.2f} ({f.close:.2f})" for f in points)
            print(f"{name:<28}{shown}", flush=True)


def _points(pool: str, drawing: Drawing, name: str) -> list[Figures]:
    drawn = _drawn(pool, *drawing)[: _repeats(name, drawing)]
    return [measure(choose, drawn, drawing[3]) for choose in curves()[name]]


@lru_cache(maxsize=1)
def _drawn(pool: str, repeats: int, prompts: int, rows: int, seed: int, near: int | None) -> list[Drawn]:
    kind = {known.name: known for known in POOLS}.get(pool) or table_pool(Path(pool), near)
    return kind.drawn(repeats, prompts, rows, seed)


def _measured(pool: str, drawing: Drawing, name: str) -> Figures:
    return measure(CHOOSERS[name], _drawn(pool, *drawing)[: _repeats(name, drawing)], drawing[3])


def _repeats(name: str, drawing: Drawing) -> int:
    """Return on how many of the pools drawn a chooser is measured."""
    return math.ceil(drawing[0] / 3) if any(part in name for part in SLOW) else drawing[0]


def _line(name: str, f: Figures) -> str:
    cells, short = f"1/{1 / f.share:.1f}", f"{f.short:.2f} ±{f.error:.2f}"
    shares = f"{cells:>8}{short:>12}{f.close:>6.2f}{f.regret:>7.2f}{f.truly_close:>6.2f}"
    return f"{name:<36}{shares}{f.bias:>+7.1f}{f.milliseconds:>7.1f}"


def _null(options: argparse.Namespace) -> bool:
    """Print false claims; say whether any selector, judged on test rows, is above 5%."""
    print(f"\nAll prompts equal (20 prompts, 100 search, 100 select, 200 test rows), {options.runs} runs:")
    print("share of runs that claim an improvement over the seed prompt. no test rows: judged by the same")
    print("test, but on the search rows that chose the winner.")
    print(f"{'':<36}{'finals':>8}{'without':>9}{'no test rows':>14}")
    failed = False
    names = _wanted(SEARCHERS, options.only)
    for name, found in _each(partial(_claims, options.runs, options.seed), names, options.processes):
        failed |= max(found.finals, found.without) > 0.05
        print(f"{name:<36}{found.finals:>8.3f}{found.without:>9.3f}{found.untested:>14.3f}", flush=True)
    return failed


def _claims(runs: int, seed: int, name: str) -> Claims:
    return claims(SEARCHERS[name], runs, seed)


def _same(options: argparse.Namespace) -> bool:
    """Print whether choices repeat."""
    print("\nSame seed, same data: the same choice and the same cells asked for, also when scores are worked")
    print("out late and out of order, at concurrency 1, 4 and 16:")
    failed = False
    for name in _wanted(SELECTORS, options.only):
        same = check_same(SELECTORS[name], options.seed)
        failed |= not same
        print(f"{name:<36}{'same' if same else 'DIFFERS':>8}", flush=True)
    return failed


def _wanted(names: Sequence[str] | dict[str, T], parts: str) -> list[str]:
    return [name for name in names if any(part in name for part in parts.split(","))]


def _each(work: Callable[[str], T], names: Sequence[str], processes: int) -> Iterator[tuple[str, T]]:
    """Yield names and results in order, worked out by several processes."""
    if processes == 1:
        yield from zip(names, map(work, names), strict=True)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from zip(names, pool.map(work, names), strict=True)


if __name__ == "__main__":
    raise SystemExit(main())
