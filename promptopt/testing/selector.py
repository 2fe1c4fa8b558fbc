"""Check that a selector keeps its contract: `check_selector`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..contracts.selector import Selector
from ..errors import BudgetExhausted, ContractError
from ..records import Evaluation
from ..selection.table import TableScorer

_SHAPES = ((1, 1, 1), (1, 20, 1), (2, 7, 1), (3, 3, 3), (5, 40, 2), (9, 12, 8), (20, 100, 1), (33, 64, 5))
"""Pools to try: candidates, rows, k."""


def check_selector(selector: Selector) -> None:
    """Check a selector on score tables whose answer is known.

    It must return k different positions, best first, ties by position; find the best of a table without
    noise, on any scale; put candidates that are not comparable last; ask only for candidates and rows that
    exist, and for no more cells than `cells` says; answer the same again; and let `BudgetExhausted` pass.

    Raises:
        ContractError: the first broken rule, with the name of the selector's class.
    """
    where = f"selector {type(selector).__name__}"
    _check_parts(selector, where)
    for candidates, rows, k in _SHAPES:
        noise = np.random.default_rng(candidates).random((candidates, rows))
        _check_noisy(selector, where, (noise < 0.6).astype(float), k)
        failing = np.where(noise < 0.3, np.nan, noise)
        _check_noisy(selector, where, failing, k)
        _check_ladder(selector, where, candidates, rows, k)
        _check_failed(selector, where, candidates, rows, k)
        _check_budget(selector, where, (noise < 0.6).astype(float), k)


def _check_parts(selector: Selector, where: str) -> None:
    if not isinstance(selector, Selector):
        raise ContractError(where, "needs the methods `select` and `cells`")


def _run(selector: Selector, where: str, table: np.ndarray, k: int) -> list[int]:
    """Select once; check the form of the answer and the ceiling of cells."""
    candidates, rows = table.shape
    score = TableScorer(table)
    pool = f"{candidates} candidates, {rows} rows, k = {k}"
    try:
        winners = selector.select(score, candidates, rows, k)
    except ContractError as error:
        raise ContractError(where, f"{error.problem} ({pool})") from error
    if not isinstance(winners, list) or any(type(winner) is not int for winner in winners):
        raise ContractError(where, f"`select` must return a list of int ({pool})", got=winners)
    if len(winners) != k or len(set(winners)) != k or not all(0 <= w < candidates for w in winners):
        raise ContractError(where, f"`select` must return k different positions ({pool})", got=winners)
    ceiling = selector.cells(candidates, rows, k)
    if score.cells > ceiling:
        raise ContractError(
            where, f"`select` asked for more cells than `cells` promised ({pool})", got=(score.cells, ceiling)
        )
    if score.cells < k:
        raise ContractError(where, f"`select` returned candidates that it never scored ({pool})")
    return winners


def _check_noisy(selector: Selector, where: str, table: np.ndarray, k: int) -> None:
    first, again = (_run(selector, where, table, k) for _ in range(2))
    if first != again:
        raise ContractError(where, "must answer the same when asked the same again", got=(first, again))


def _check_ladder(selector: Selector, where: str, candidates: int, rows: int, k: int) -> None:
    """Every candidate scores the same on all rows, so the right answer is known."""
    order = np.random.default_rng(rows).permutation(candidates)
    ladders: dict[str, tuple[np.ndarray, list[int]]] = {
        "scores in [0, 1]": ((order + 1) / (candidates + 1), np.argsort(-order).tolist()),
        "log-likelihoods": (-0.1 - (candidates - order) * 1.7, np.argsort(-order).tolist()),
        "equal scores": (np.full(candidates, 0.5), list(range(candidates))),
    }
    for name, (levels, expected) in ladders.items():
        winners = _run(selector, where, np.repeat(np.asarray(levels)[:, None], rows, axis=1), k)
        if winners != expected[:k]:
            raise ContractError(
                where,
                f"must return the best first, ties by position ({name}, no noise); expected {expected[:k]}",
                got=winners,
            )


def _check_failed(selector: Selector, where: str, candidates: int, rows: int, k: int) -> None:
    """The seemingly best candidate has lost half of its cells, another all: both rank last."""
    if candidates < 3:
        return
    table = np.full((candidates, rows), 0.25)
    table[0] = 1.0
    table[0, ::2] = np.nan
    table[1] = np.nan
    winners = _run(selector, where, table, k)
    expected = [*range(2, candidates), 0, 1][:k]
    if winners != expected:
        raise ContractError(
            where, f"must rank candidates that are not comparable last; expected {expected}", got=winners
        )


def _check_budget(selector: Selector, where: str, table: np.ndarray, k: int) -> None:
    candidates, rows = table.shape
    inner = TableScorer(table)
    calls = 0

    def count(positions: Sequence[int], n: int) -> list[Evaluation]:
        nonlocal calls
        calls += 1
        return inner(positions, n)

    selector.select(count, candidates, rows, k)
    for allowed in sorted({0, calls // 2, calls - 1}):
        left = allowed
        scorer = TableScorer(table)

        def cut(positions: Sequence[int], n: int, scorer: TableScorer = scorer) -> list[Evaluation]:
            nonlocal left
            if not left:
                raise BudgetExhausted("budget", "no call is left")
            left -= 1
            return scorer(positions, n)

        try:
            selector.select(cut, candidates, rows, k)
        except BudgetExhausted:
            continue
        raise ContractError(where, "must let `BudgetExhausted` pass", do="do not catch it")
