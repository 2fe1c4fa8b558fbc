"""The report as JSON: what `result.json` holds and all that a reader of the folder works out besides."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..proof.stats import Interval
from .summary import Calibration, Candidate, Curve, RowResult, Step, Summary
from .words import summary_words


def render_json(summary: Summary) -> str:
    """Return the report as JSON; all but ASCII is escaped, so no text acts on a terminal."""
    return json.dumps(_finite(to_dict(summary)), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """Return plain data with null for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_dict(s: Summary) -> dict[str, Any]:
    """Return a summary as plain data."""
    words = summary_words(s)
    return {
        "run": s.name,
        "state": s.state,
        "headline": words.headline,
        "detail": words.detail,
        **s.result,
        "reward": s.reward,
        "counts": s.counts,
        "rows": [_row(row) for row in s.rows],
        "slices": [asdict(one) for one in s.slices],
        "prompts": [_candidate(one) for one in s.candidates],
        "curves": [_curve(one) for one in s.curves],
        "calibration": [_calibration(one) for one in s.calibrations],
        "calls": [
            {
                "role": one.role,
                "answers": one.answers,
                "attempts": one.attempts,
                "retried": one.retried,
                "lost": one.lost,
                "failures": dict(one.failures),
                "spent": one.spent._asdict(),
            }
            for one in s.calls
        ],
        "failed_cells": [
            {"split": split, "reason": reason, "cells": number}
            for (split, reason), number in s.failed_cells.items()
        ],
        "notices": list(s.notices),
        "models": {role: dict(model) for role, model in s.models.items()},
        "environment": dict(s.environment),
        "job": dict(s.lock),
        "command": s.command,
    }


def _row(one: RowResult) -> dict[str, Any]:
    row = one.row
    return {
        "id": one.id,
        "split": one.split,
        "change": one.change,
        "inputs": None if row is None else dict(row.inputs),
        "answers": None if row is None else list(row.answers),
        "seed": None if one.before is None else asdict(one.before),
        "best": None if one.after is None else asdict(one.after),
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    scores = {split: asdict(score) for split, score in one.scores.items()}
    return {"id": one.prompt.id, "number": one.number, "prompt": one.prompt.to_dict(), "scores": scores}


def _curve(one: Curve) -> dict[str, Any]:
    return {
        "searcher": one.searcher,
        "best_so_far": [_step(step) for step in one.steps],
        "scored": [_step(step) for step in one.scored],
        "end": one.end._asdict(),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "prompt": step.prompt,
        "mean": step.mean,
        "n": step.n,
        "interval": _interval(step.interval),
        "spent": step.spent._asdict(),
    }


def _interval(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _calibration(one: Calibration) -> dict[str, Any]:
    return {
        "prompt": one.prompt,
        "of": one.of,
        "ece": one.reliability.error,
        "overconfidence": one.reliability.overconfidence,
        "n": one.reliability.n,
        "bins": [asdict(part) for part in one.reliability.bins],
    }
