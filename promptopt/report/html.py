"""The report as one page: no script, nothing from elsewhere, every text escaped (Jinja2, autoescape on)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from .. import __version__
from ..ledger import Spent
from ..progress import clock_text, count, tokens_text, usd_text
from ..prompt import Prompt
from ..proof.guards import Overlap
from ..proof.stats import Interval, format_number, format_p
from ..proof.verdict import Verdict
from ..strict_yaml import dump
from ..visible import visible
from .charts.progress import progress_chart, second_axis
from .charts.reliability import reliability_chart
from .charts.splits import splits_chart
from .charts.tradeoff import Kind, Spot, tradeoff_chart
from .charts.verdict import verdict_chart
from .diff import word_diff
from .lineage import tree
from .spelling import label, spell
from .summary import Candidate, Change, Summary
from .words import summary_words

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
CLIP = 1500
"""Characters of one text that are shown."""
MOST_ROWS = 2000
MARKS: Mapping[Change, str] = {
    "fixed": "fixed",
    "broke": "broke",
    "wrong": "both wrong",
    "right": "both right",
    "missing": "no score",
}
REAL_MARKS: Mapping[Change, str] = {
    **MARKS,
    "fixed": "better",
    "broke": "worse",
    "wrong": "equal",
    "right": "equal, full score",
}


def mark_escapes(text: object) -> Markup:
    """Return a text with markup escaped, and escapes for what would act on a screen, marked as such."""
    opened, closed = "\ue000", "\ue001"  # private characters: `visible` lets none through
    shown = visible(str(text), lambda written: f"{opened}{written}{closed}")
    return Markup(
        escape(shown).replace(opened, Markup('<span class="esc">')).replace(closed, Markup("</span>"))
    )


def clip(text: object, most: int = CLIP) -> Markup:
    """Return the beginning of a text, and how much is left out."""
    told = str(text)
    if len(told) <= most:
        return mark_escapes(told)
    left = f" … {len(told) - most:,} more characters"
    return mark_escapes(told[:most]) + Markup('<span class="soft">{}</span>').format(left)


def sentence(text: str) -> str:
    """Return a line of ours as a sentence."""
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def scored(candidate: Candidate) -> str:
    """Return a candidate's last score, and on how many rows."""
    last = candidate.last
    if last is None or last.mean is None:
        return "no score"
    return f"{format_number(last.mean)} on {last.n:,}"


@cache
def environment(*more: str) -> Environment:
    """Return the templates' environment; `more` are packages with templates besides these."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in ("promptopt.report", *more)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    made.filters |= {
        "v": mark_escapes,
        "sentence": sentence,
        "clip": clip,
        "number": format_number,
        "signed": lambda value: format_number(value, sign=True),
        "p": lambda value: "-" if value is None else format_p(value).removeprefix("p").removeprefix("="),
        "pvalue": format_p,
        "count": count,
        "tokens": tokens_text,
        "usd": usd_text,
        "clock": clock_text,
        "label": label,
        "spell": spell,
        "scored": scored,
    }
    return made


def render_html(summary: Summary) -> str:
    """Return the report as one HTML file."""
    return environment().get_template("report.html").render(_context(summary))


def _context(s: Summary) -> dict[str, Any]:
    alone = s.best == s.seed_prompt
    labels = {candidate.prompt.id: label(candidate.prompt) for candidate in s.candidates}
    result = s.result
    nodes = tree(s.candidates, s.best)
    spots = _spots(s)
    pictures = _pictures(s, labels, spots)
    marks = MARKS if s.binary else REAL_MARKS
    finals = result.get("finals")
    context = {
        "s": s,
        "policy": POLICY,
        "version": __version__,
        "words": summary_words(s),
        "tiles": _tiles(s),
        "notes": _notes(s),
        "alone": alone,
        "best": s.best,
        "names": ("your prompt", "new prompt"),
        "change": ()
        if s.best is None or s.seed_prompt is None
        else word_diff(spell(s.seed_prompt), spell(s.best)),
        "layout": "" if s.best is None else _layout(s.best),
        "finals": finals,
        "standings": _standings(finals),
        "gap": result.get("gap"),
        "power": result.get("power"),
        "pictures": pictures,
        "racing": len(s.curves) > 1,
        "tested": s.verdict is None or s.verdict.held_out,
        "priced": any(entry.spent.usd for entry in s.leaderboard),
        "front": sorted((spot for spot in spots if spot.on_front), key=lambda spot: spot.tokens),
        "labels": labels,
        "marks": marks,
        "filters": _filters(s, marks, alone),
        "shown": s.rows[:MOST_ROWS],
        "diagrams": [
            reliability_chart(
                one.reliability, "before" if s.seed_prompt and one.prompt == s.seed_prompt.id else "after"
            )
            for one in s.calibrations
        ],
        "nodes": nodes,
        "failed": list(s.failed_cells.items())[:20],
        "checks": _checks(s),
        "notices": s.notices[:200],
        "lock": dump(dict(s.lock)) if s.lock else "",
        "environment": _environment(s),
        **about(s),
    }
    return context | {"contents": _contents(context)}


def about(s: Summary) -> dict[str, Any]:
    """Return what stands beside a run's name: target, searchers, description."""
    target = s.models.get("target", {})
    search = s.lock.get("search", ())
    several = search if isinstance(search, list) else [search]
    names = [one.get("name", "") if isinstance(one, dict) else str(one) for one in several if one]
    endpoint, model = target.get("endpoint", ""), target.get("model", "")
    return {
        "target": f"{endpoint}/{model}".strip("/") if target else "",
        "searchers": names,
        "description": str(s.lock.get("description", "")),
    }


def _pictures(s: Summary, labels: Mapping[str, str], spots: Sequence[Spot]) -> dict[str, Markup]:
    before = s.candidate(s.seed_prompt.id) if s.seed_prompt else None
    after = None if s.best == s.seed_prompt or s.best is None else s.candidate(s.best.id)
    return {
        "verdict": verdict_picture(s.verdict, s.binary),
        "calls": progress_chart(s.curves, "calls", labels=labels),
        "money": progress_chart(s.curves, second_axis(s.curves), labels=labels),
        "tradeoff": tradeoff_chart(spots),
        "splits": splits_chart(before.scores if before else {}, after.scores if after else {}),
    }


def verdict_picture(verdict: Verdict | None, binary: bool) -> Markup:
    """Return a verdict's picture; empty where it has no scores."""
    if (
        verdict is None
        or verdict.best is None
        or verdict.baseline is None
        or verdict.difference is None
        or verdict.interval is None
        or verdict.baseline_interval is None
        or verdict.best_interval is None
    ):
        return Markup("")
    return verdict_chart(
        (verdict.baseline, verdict.baseline_interval),
        (verdict.best, verdict.best_interval),
        (verdict.difference, verdict.interval),
        binary=binary,
        label=f"Scores with 95% intervals, and their difference: {verdict.line}",
    )


def _tiles(s: Summary) -> list[tuple[str, str, str]]:
    verdict, spent = s.verdict, s.spent
    tiles: list[tuple[str, str, str]] = []
    if verdict is not None and verdict.best is not None and verdict.baseline is not None:
        tiles.append(("yours", format_number(verdict.baseline), str(verdict.baseline_interval or "")))
        if not verdict.same_prompt:
            tiles.append(("new", format_number(verdict.best), str(verdict.best_interval or "")))
            gain = format_number(verdict.difference or 0.0, sign=True)
            tiles.append(("gain, paired", gain, f"{verdict.interval} {format_p(verdict.p)}"))
    if verdict is not None:
        tiles.append(("held-out rows" if verdict.held_out else "reused rows", count(verdict.n), ""))
    tiles.append(("prompts tried", count(len(s.candidates)), ""))
    tiles.append(
        ("spent", usd_text(spent.usd) if spent.usd else f"{count(spent.calls)} calls", _bought(spent))
    )
    if "seconds" in s.result:
        tiles.append(("time", clock_text(s.result["seconds"]), ""))
    return tiles


def _bought(spent: Spent) -> str:
    tokens = f"{tokens_text(spent.tokens)} tokens"
    return f"{count(spent.calls)} calls, {tokens}" if spent.usd else tokens


def _notes(s: Summary) -> list[str]:
    """Return what a reader should know besides: of the verdict, of the searcher, of an early end."""
    notes = list(s.verdict.notes) if s.verdict is not None else []
    notes += s.cut_notes
    notes += [s.judge_check.note] if s.judge_check is not None and s.judge_check.note else []
    notes += [str(note["text"]) for note in s.result.get("search_notes", ())]
    if s.result.get("stopped") == "budget":
        notes.append("the budget ended the search before the searcher was done")
    return notes


def _layout(prompt: Prompt) -> str:
    system = f"[system]\n{prompt.template.system}\n\n[user]\n" if prompt.template.system else ""
    return system + prompt.template.user


def _standings(finals: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if not finals:
        return []
    return sorted(finals["standings"], key=lambda one: (one["mean"] is None, one["lead"]))


def _filters(s: Summary, marks: Mapping[Change, str], alone: bool) -> list[tuple[str, str, int]]:
    counts = s.counts
    order: tuple[Change, ...] = ("fixed", "broke", "wrong", "right", "missing")
    if alone:
        order = ("wrong", "right", "missing")
        marks = {**marks, "wrong": "wrong", "right": "right"}
    shown = [
        (str(key), marks[key], counts[key])
        for key in order
        if counts[key] or key in ("fixed", "broke", "wrong")
    ]
    return [("all", "all", len(s.rows)), *shown]


def _spots(s: Summary) -> list[Spot]:
    """Return prompts with known tokens: finalists as they met on the select rows, others on search rows."""
    on_front = {point["id"] for point in s.result.get("front", ())}
    intervals = {
        point["id"]: point["interval"] for point in s.result.get("front", ()) if point.get("interval")
    }
    spots = []
    for candidate in s.candidates:
        final = "select" in candidate.scores
        score = candidate.scores.get("select") or candidate.scores.get("search")
        if score is None or score.mean is None or score.prompt_tokens is None:
            continue
        kind: Kind = "final" if final else "other"
        if candidate.prompt == s.best:
            kind = "after"
        if candidate.prompt == s.seed_prompt:
            kind = "before"
        ends = intervals.get(candidate.prompt.id)
        spots.append(
            Spot(
                score.prompt_tokens,
                score.mean,
                score.n,
                kind,
                candidate.prompt.id in on_front,
                label(candidate.prompt),
                Interval(*ends) if ends else None,
            )
        )
    return spots


def _checks(s: Summary) -> list[tuple[bool, str]]:
    guards = s.result.get("guards") or {}
    checks: list[tuple[bool, str]] = []
    if (found := guards.get("overlap")) is not None:
        note = Overlap(**found).note
        checks.append((not note, note or "leak check: the best prompt repeats no search row"))
    if (drift := guards.get("format")) is not None:
        shares = f"{drift['baseline']:.0%} of your prompt's replies, {drift['best']:.0%} of the winner's"
        checks.append((drift["best"] <= drift["baseline"], f"replies without a readable answer: {shares}"))
    checks += [(False, note) for note in s.cut_notes]
    if (counted := guards.get("cut")) and not s.cut_notes:
        cut, cells = (sum(one[key] for one in counted) for key in ("cut", "cells"))
        harmless = ", without harm" if cut else ""
        checks.append((True, f"answers cut by the token limit: {cut:,} of {cells:,}{harmless}"))
    if (told := s.judge_check) is not None:
        passed = f"judge check: none of {told.pairs} canaries talked the judge into a score"
        untried = "judge check: no canary was sent to see whether the judge can be talked into scores"
        checks.append((bool(told.pairs) and not told.note, told.note or (passed if told.pairs else untried)))
    failed = sum(s.failed_cells.values())
    checks.append((not failed, f"cells without a score: {failed:,}"))
    if s.verdict is not None:
        kept = (
            "the test rows were opened once, for this verdict"
            if s.verdict.held_out
            else "no rows were held out"
        )
        checks.append((s.verdict.held_out, kept))
    return checks


def _environment(s: Summary) -> str:
    told = {"models": s.models, **s.environment}
    return json.dumps(told, indent=2, ensure_ascii=False, default=dict)


def _contents(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    s, pictures = context["s"], context["pictures"]
    parts = [
        ("verdict", "Verdict", True),
        ("prompt", "Prompt", context["best"] is not None),
        ("progress", "Search", bool(pictures["calls"])),
        ("race", "Race", bool(s.leaderboard)),
        ("tokens", "Tokens", bool(pictures["tradeoff"])),
        ("gap", "Splits", bool(pictures["splits"])),
        ("rows", "Rows", bool(s.rows)),
        ("slices", "Slices", bool(s.slices) and not context["alone"]),
        ("calibration", "Calibration", bool(s.calibrations)),
        ("tree", "Family tree", len(context["nodes"]) > 1),
        ("cost", "Cost", True),
        ("checks", "Checks", True),
        ("again", "Run it again", True),
    ]
    return [(key, name) for key, name, there in parts if there]
