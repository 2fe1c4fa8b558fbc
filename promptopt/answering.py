"""The public call `answer`: put a prompt to use, with its demonstrations, program and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .calls import Caller
from .contracts.model import Decoding, LanguageModel
from .contracts.reward import Needs, Output, Reward
from .errors import DataError
from .from_python import read_model, read_reward
from .journal import Journal
from .ledger import Ledger
from .programs import REASONING_TOKENS
from .prompt import Prompt
from .records import Budget, Cell, Example, FrozenMap, Score
from .scoring import Scorer
from .template import slots

Named = str | Mapping[str, Any]


@dataclass
class _Taken:
    """Takes every reply; `reward` reads answers out of replies, for programs that vote."""

    reward: Reward | None = None

    needs: Needs = "text"

    def __call__(self, example: Example, output: Output) -> Score:
        return Score(0.0)

    def extract(self, text: str) -> str | None:
        return (text.strip() or None) if self.reward is None else self.reward.extract(text)


def answer(
    prompt: Prompt,
    rows: Iterable[Mapping[str, str]],
    target: Named | LanguageModel | Callable[..., Any],
    *,
    decoding: Decoding | None = None,
    reward: Named | Reward | Callable[..., Any] | None = None,
    budget: Budget = Budget(),
) -> tuple[Cell, ...]:
    """Answer rows with a prompt, as the engine does when it scores it.

    Args:
        prompt: such as `study.best`, or `Prompt.load("prompt.json")`.
        rows: input columns by name; further ones do no harm.
        target: as for `optimize`.
        decoding: how the target decodes, by default greedily up to 64 tokens, 256 to reason; give what the
            run had.
        reward: reads the answers out of replies that vote (`self_consistency`); default: the whole reply.
        budget: hard caps.

    Returns:
        A cell for each row, in order: `output`, or `status` "failed" and a `reason`; the score means nothing.

    Raises:
        BudgetExhausted: the budget does not carry all rows.
        DataError: a row lacks a column.
        ModelError: the target cannot be used at all.

    Example:
        >>> [cell.output for cell in answer(study.best, [{"question": "2 + 2?"}], "embedded/small")]
    """
    examples = [_example(place, row, prompt) for place, row in enumerate(rows)]
    model, price = read_model(target, "target")
    judge = _Taken(None if reward is None else read_reward(reward)[0])
    with Journal() as journal:
        caller = Caller(
            {"target": model}, journal, Ledger(budget, {} if price is None else {"target": price})
        )
        how = Decoding(reasoning_tokens=REASONING_TOKENS) if decoding is None else decoding
        scorer = Scorer(caller, journal, {"answer": judge}, decoding=how, warn=_mute)
        (evaluation,) = scorer.evaluate([prompt], examples, "answer", "use")
    return evaluation.cells


def _example(place: int, row: Mapping[str, str], prompt: Prompt) -> Example:
    layout = {*slots(prompt.template.user), *slots(prompt.template.system)}
    missing = sorted(layout & prompt.template.names() - row.keys())
    if missing and prompt.template.engine == "plain":
        raise DataError(f"row {place}", f"has no column {missing[0]!r}", got=sorted(row))
    return Example(str(place), FrozenMap({name: str(value) for name, value in row.items()}))


def _mute(text: str) -> None:
    """Say nothing: the cell says it."""
