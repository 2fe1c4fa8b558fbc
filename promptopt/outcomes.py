"""Outcomes of model calls as plain data, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from .contracts.model import Completion, Failure, Likelihood, Outcome
from .records import Usage
from .redact import conceal, redact

OUTCOME_FIELDS = {
    kind: tuple(field.name for field in fields(kind)) for kind in (Completion, Likelihood, Failure)
}


def storable(outcome: Outcome) -> Outcome:
    """Replace half characters (lone surrogates), which no database stores, and secrets, which none should.

    This is done before anybody uses the text: what is used is what is kept.
    """
    if isinstance(outcome, Completion):
        text = conceal(outcome.text.encode("utf-8", "replace").decode())
        served = outcome.served and conceal(outcome.served.encode("utf-8", "replace").decode())
        same = (text, served) == (outcome.text, outcome.served)
        return outcome if same else replace(outcome, text=text, served=served)
    if isinstance(outcome, Failure):
        return replace(outcome, message=redact(outcome.message.encode("utf-8", "replace").decode()))
    return outcome


def outcome_to_dict(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain JSON data."""
    names = OUTCOME_FIELDS[type(outcome)]
    data = {name: getattr(outcome, name) for name in names}
    if data.get("served", "") is None:
        del data["served"]
    if not isinstance(outcome, Failure):
        usage = outcome.usage
        data["usage"] = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        }
    return {"type": type(outcome).__name__.lower(), **data}


def outcome_from_dict(data: Mapping[str, Any]) -> Outcome:
    """Read what `outcome_to_dict` wrote."""
    values = dict(data)
    kind = values.pop("type")
    if kind == "failure":
        return Failure(**values)
    usage = Usage(**values.pop("usage"))
    return Completion(usage=usage, **values) if kind == "completion" else Likelihood(usage=usage, **values)
