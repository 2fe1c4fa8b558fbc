"""The report as Markdown, for a pull request or a wiki: verdict, prompt, splits, cost, what broke."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ..progress import count, usd_text
from ..proof.stats import format_number, format_p
from ..visible import one_line, visible
from .spelling import label, spell
from .summary import Answer, RowResult, Score, Summary
from .words import summary_words

MOST_ROWS = 20
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|!&~])")


def render_markdown(summary: Summary) -> str:
    """Return the report as Markdown; texts from outside stay texts."""
    return "\n".join(_lines(summary)).rstrip() + "\n"


def _lines(s: Summary) -> Iterator[str]:
    words = summary_words(s)
    yield from (f"# {plain(words.headline)}", "", plain(words.detail), "")
    if s.verdict is not None:
        yield from (*fenced(s.verdict.line), "")
        yield from (f"- {plain(note)}" for note in s.verdict.notes)
    yield from (f"- {plain(note)}" for note in s.cut_notes)
    if s.judge_check is not None and s.judge_check.note:
        yield f"- {plain(s.judge_check.note)}"
    if s.best is not None and s.best != s.seed_prompt:
        yield from ("", "## The new prompt", "", *fenced(spell(s.best)))
    if s.seed_prompt is not None:
        yield from ("", "## Your prompt", "", *fenced(spell(s.seed_prompt)))
    yield from _splits(s)
    yield from _race(s)
    yield from _rows(s)
    yield from _slices(s)
    yield from _cost(s)
    if s.command:
        yield from ("", "## Run it again", "", *fenced(s.command))


def _splits(s: Summary) -> Iterator[str]:
    seed = s.candidate(s.seed_prompt.id) if s.seed_prompt else None
    best = s.candidate(s.best.id) if s.best else None
    if seed is None or best is None:
        return
    splits = [split for split in ("search", "select", "test") if split in seed.scores or split in best.scores]
    lines = [(split, _score(seed.scores.get(split)), _score(best.scores.get(split))) for split in splits]
    yield from ("", "## From search to test", "", *table(("rows", "yours", "new"), lines))
    gap, power = s.result.get("gap"), s.result.get("power")
    yield from (f"\n{plain(part['line'][:1].upper() + part['line'][1:])}." for part in (gap, power) if part)


def _score(score: Score | None) -> str:
    if score is None or score.mean is None:
        return "-"
    spread = f" {score.interval}" if score.interval is not None else ""
    return f"{format_number(score.mean)}{spread} on {score.n:,}"


def _race(s: Summary) -> Iterator[str]:
    if not s.leaderboard:
        return
    lines = []
    for entry in s.leaderboard:
        verdict = entry.verdict
        judged = ("-", "-", "-")
        if verdict is not None and verdict.best is not None and verdict.difference is not None:
            judged = (
                f"{format_number(verdict.best)} {verdict.best_interval}",
                f"{format_number(verdict.difference, sign=True)} {verdict.interval}",
                format_p(entry.p if entry.p is not None else 1.0),
            )
        found = f"failed: {entry.failure}" if entry.best is None else label(entry.best)
        star = " ★" if entry.chosen else ""
        lines.append((entry.searcher + star, *judged, count(entry.spent.calls), found))
    yield from ("", "## The race", "", *table(("searcher", "score", "gain", "p", "calls", "prompt"), lines))


def _rows(s: Summary) -> Iterator[str]:
    if not s.rows:
        return
    counts = s.counts
    told = f"{counts['fixed']:,} fixed, {counts['broke']:,} broke"
    yield from ("", "## Row by row", "", f"Of {len(s.rows):,} {s.proof_split} rows: {told}.")
    broke = [one for one in s.rows if one.change == "broke"]
    if broke:
        more = f" (the first {MOST_ROWS} of {len(broke):,})" if len(broke) > MOST_ROWS else ""
        yield from ("", f"Broke{more}:", "")
        yield from table(("row", "expected", "yours", "new"), map(_row, broke[:MOST_ROWS]))


def _row(one: RowResult) -> tuple[str, ...]:
    expected = one.row.answer if one.row is not None else ""
    return (one.id, expected, _said(one.before), _said(one.after))


def _said(answer: Answer | None) -> str:
    if answer is None:
        return "-"
    text = one_line(answer.output or answer.feedback or answer.reason)
    return text if len(text) <= 120 else text[:119] + "…"


def _slices(s: Summary) -> Iterator[str]:
    if s.slices and s.best != s.seed_prompt:
        lines = [
            (
                one.column,
                one_line(one.value)[:80],
                str(one.n),
                format_number(one.before),
                format_number(one.after),
                f"{format_number(one.difference, sign=True)} {one.interval}",
            )
            for one in s.slices
        ]
        head = ("column", "value", "rows", "yours", "new", "difference")
        yield from ("", "## Slices", "", *table(head, lines))


def _cost(s: Summary) -> Iterator[str]:
    lines = [
        (
            one.role,
            count(one.spent.calls),
            count(one.spent.tokens),
            usd_text(one.spent.usd),
            str(one.retried),
            ", ".join(f"{number} {reason}" for reason, number in one.failures.items()) or "none",
        )
        for one in s.calls
    ]
    head = ("role", "calls", "tokens", "$", "tried again", "failed for good")
    yield from ("", "## Cost", "", *table(head, lines))


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table."""
    yield f"| {' | '.join(map(plain, head))} |"
    yield f"|{'---|' * len(head)}"
    for line in lines:
        yield f"| {' | '.join(map(plain, line))} |"


def plain(text: str) -> str:
    """Return a text on one line in which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", one_line(text))


def fenced(text: str) -> Iterator[str]:
    """Return the lines of a block of text; its fence is longer than any in the text."""
    shown = visible(text)
    longest = max((len(found) for found in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}text", *shown.split("\n"), fence)
