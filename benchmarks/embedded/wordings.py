"""How a task is asked for: precise, partial, vague and misleading wordings, drawn from a grammar.

What makes the landscape of prompts graded: every wording has a clarity, every input a difficulty (its
length), and the model is taught the right answer where the difficulty is below the clarity, as in a Rasch
model (item response theory) without noise. On the other inputs it is taught the mistake that the wording
invites. Hints on the format and calls for care raise the clarity of an unclear wording.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import cache
from random import Random
from typing import Any
from zlib import crc32

import yaml

from .contracts import Row, Wording
from .corpus import HERE, human_instructions
from .corpus import held_out as _held_out
from .families import FAMILIES, rows


@cache
def _phrases() -> dict[str, Any]:
    return dict(yaml.safe_load((HERE / "phrases.yaml").read_text("utf-8")))


def _one(name: str, rng: Random, first: int | None = None) -> str:
    """Draw one of the phrases of a name, or of the first few."""
    return str(rng.choice(_phrases()[name][:first]))


@cache
def _asks() -> dict[str, dict[str, list[list[object]]]]:
    return dict(yaml.safe_load((HERE / "asks.yaml").read_text("utf-8")))


def expand(text: str, rng: Random) -> str:
    """Resolve the choices `{a|b}` of a text."""
    while found := re.search(r"\{([^{}]*)\}", text):
        text = text[: found.start()] + rng.choice(found[1].split("|")) + text[found.end() :]
    return re.sub(r"\s+([?.,])", r"\1", re.sub(r"\s+", " ", text)).strip()


def normal(text: str) -> str:
    """Return a wording without case and punctuation."""
    return " ".join(re.findall("[a-z0-9+]+", text.lower()))


@cache
def forbidden() -> frozenset[str]:
    """Return the wordings no training row may use."""
    human = [text for texts in human_instructions().values() for text in texts]
    kept = [text for its in _held_out().values() for texts in its.values() for text in texts]
    return frozenset(map(normal, human + kept))


@cache
def _long_forbidden() -> tuple[str, ...]:
    """Return the forbidden wordings that are too long to be in another one by chance."""
    return tuple(sorted(text for text in forbidden() if text.count(" ") >= 4))


def reserved(text: str) -> bool:
    """Whether a wording is kept for evaluation: one in ten, for good, and all that hold a held-out one."""
    plain = normal(text)
    if plain in forbidden() or crc32(plain.encode()) % 10 == 0:
        return True
    return any(kept in plain for kept in _long_forbidden())


def precise(name: str, rng: Random) -> Wording:
    """Draw a wording that asks for the task, as in training."""
    while True:
        text = _frame(name, rng)
        if not reserved(text):
            return Wording(text, "precise")


def partial(name: str, rng: Random) -> Wording:
    """Draw an unclear wording, as in training."""
    while True:
        wording = _unclear(name, rng)
        if not reserved(wording.text):
            return wording


def vague(rng: Random) -> str:
    """Draw a wording that says nothing of the task."""
    return _finish(expand(_one("vague", rng), rng), rng, plain=True)


def misleading(name: str, rng: Random) -> str:
    """Draw the right wording of another family whose inputs look alike."""
    kind = FAMILIES[name].kind
    others = [other for other in FAMILIES if other != name and FAMILIES[other].kind == kind]
    return precise(rng.choice(others or [other for other in FAMILIES if other != name]), rng).text


def stepwise(name: str, rng: Random) -> Wording:
    """Draw a wording that asks for the steps, too."""
    text = precise(name, rng).text
    text += "" if text[-1] in ".?!" else "."
    return Wording(f"{text} {_one('steps', rng)}", "steps")


def noun_phrase(name: str, rng: Random) -> str:
    """Draw a noun phrase for what is asked for: "the first letter of the word"."""
    return _fill(str(rng.choice(_asks()[name]["np"])), FAMILIES[name].kind, rng)


def human(name: str) -> list[str]:
    """Return the annotators' instructions of the family, if it is a public task."""
    return list(human_instructions().get(name, []))


def held_out(name: str, split: str) -> list[str]:
    """Return the held-out wordings of a split, "dev" or "test"."""
    return list(_held_out()[split][name])


def landscape(name: str, seed: int) -> list[Wording]:
    """Return 42 wordings of all levels, none of them drawn in training."""
    rng = Random(f"landscape/{name}/{seed}")
    counts = {"precise": 10, "partial": 13, "verbose": 6, "hedged": 3, "both": 5, "sentence": 2, "vague": 3}
    found: dict[str, Wording] = {}
    for level, count in counts.items():
        drawn = 0
        while drawn < count:
            wording = _of_level(name, level, rng)
            if wording.text not in found and (level == "vague" or reserved(wording.text)):
                found[wording.text] = wording
                drawn += 1
    return list(found.values())


def _of_level(name: str, level: str, rng: Random) -> Wording:
    if level == "precise":
        text = _frame(name, rng)
        ending = rng.random()
        extra = _one("hints", rng) if ending < 0.3 else _one("care", rng) if ending < 0.5 else ""
        return Wording(_append(text, extra), "precise")
    if level == "vague":
        return Wording(vague(rng), "vague", 0.0)
    return _unclear(name, rng, level)


def _unclear(name: str, rng: Random, level: str = "") -> Wording:
    level = level or rng.choices(("partial", "verbose", "hedged", "both", "sentence"), (50, 18, 14, 14, 4))[0]
    asks, kind = _asks()[name], FAMILIES[name].kind
    if level == "partial":
        text, clarity, mistake = rng.choice(asks["partial"])
        text = _fill(str(text), kind, rng)
        if text.split()[0] not in _phrases()["commands"]:
            text = f"{_one('open', rng, 11)} {text}" if rng.random() < 0.7 else text
        text = (_one("before", rng) if rng.random() < 0.2 else "").replace("TT", _thing(kind)) + text
        return _help(text, level, float(str(clarity)), str(mistake), rng)
    noun = noun_phrase(name, rng)
    if level == "verbose":
        return _help(f"{_one('verbose', rng)} {noun}", level, 0.5, "chatty", rng)
    if level == "hedged":
        return _help(f"{_one('hedges', rng)} {_one('open', rng, 8)} {noun}", level, 0.7, "echo", rng)
    if level == "sentence":
        text = _finish(f"{_one('open', rng, 8)} {noun}", rng, plain=True)
        return Wording(_append(text, _one("sentence_answer", rng)), level, 0.0, "chatty")
    other = rng.choice(_siblings(name))
    return _help(f"{_one('open', rng, 8)} {noun} or {noun_phrase(other, rng)}", level, 0.55, other, rng)


def _siblings(name: str) -> list[str]:
    """Return families whose answers can be given to this family's inputs."""
    mistakes = [str(mistake) for _, _, mistake in _asks()[name]["partial"]]
    found = sorted({mistake for mistake in mistakes if mistake in FAMILIES})
    return found or ["last_word" if FAMILIES[name].kind in ("review", "request") else "uppercase"]


def _help(text: str, level: str, clarity: float, mistake: str, rng: Random) -> Wording:
    """Append a hint or a call for care to an unclear wording, at times; they make it clearer."""
    text, ending = _finish(text, rng, plain=True), rng.random()
    if ending < 0.2:
        return Wording(_append(text, _one("hints", rng)), f"{level}+hint", min(1.0, clarity + 0.25), mistake)
    if ending < 0.35:
        return Wording(_append(text, _one("care", rng)), f"{level}+care", min(1.0, clarity + 0.15), mistake)
    return Wording(text, level, clarity, mistake)


def _frame(name: str, rng: Random) -> str:
    asks, kind = _asks()[name], FAMILIES[name].kind
    choice = rng.random()
    given = _one("given", rng) if rng.random() < 0.12 else ""
    if choice < 0.2 and asks["q"]:
        text = _fill(str(rng.choice(asks["q"])), kind, rng)
        if rng.random() < 0.15:
            text = f"{rng.choice(('tell me:', 'question:', 'say', 'answer this:', 'given TT,'))} {text}"
    elif choice < 0.55 and asks["vp"]:
        text = _fill(str(rng.choice(asks["vp"])), kind, rng)
        if rng.random() < 0.45:
            text = _one("before", rng) + text
        elif rng.random() < 0.12:
            text += f" and {_one('open', rng, 6)} {_one('result', rng)}"
    else:
        text = _noun_frame(noun_phrase(name, rng), rng)
    if given:
        text = f"{given[0].upper()}{given[1:]} {text[0].upper()}{text[1:]}"
    return _finish(text.replace("TT", _thing(kind)), rng)


def _noun_frame(noun: str, rng: Random) -> str:
    choice = rng.random()
    if noun.startswith("the ") and rng.random() < 0.1:
        noun = noun.removeprefix("the ")
    if choice < 0.08:
        return f"{rng.choice(('what is', 'can you tell me', 'what would be', 'could you give me'))} {noun}?"
    if choice < 0.16:
        return noun + rng.choice((" only", " please", ", please", "", "", " is needed", " is wanted"))
    if choice < 0.22:
        return f"{_one('output', rng)} {noun}"
    opener = _one("open", rng, None if rng.random() < 0.6 else 12)
    if choice < 0.5 and not opener.startswith(("I ", "please", "try", "just")):
        return f"{_one('before', rng)}{opener} {noun}"
    return f"{opener} {noun}"


def _fill(text: str, kind: str, rng: Random) -> str:
    nouns = _phrases()["nouns"]
    while "~" in text:
        text = text.replace(
            "~", rng.choice(_of_kind(nouns, kind) if rng.random() < 0.65 else nouns["any"]), 1
        )
    return expand(text, rng)


def _thing(kind: str) -> str:
    return str(_of_kind(_phrases()["things"], kind))


def _of_kind(table: dict[str, Any], kind: str) -> Any:
    return table.get(kind) or table["sentence" if "sentence" in kind else "word"]


def _finish(text: str, rng: Random, *, plain: bool = False) -> str:
    text = expand(text, rng)
    if rng.random() < 0.82:
        text = text[:1].upper() + text[1:]
    if text[-1] not in ".?!:":
        text += (
            rng.choice((".", ".", ".", ".", ".", ".", "", "", "", ":", ":", "?"))
            if not plain
            else rng.choice((".", ".", ""))
        )
    ending = 1.0 if plain else rng.random()
    if ending < 0.09:
        return _append(text, _one("hints", rng))
    if ending < 0.14:
        return _append(text, _one("care", rng))
    if ending < 0.16:
        return f"{_one('polite', rng)} {text}"
    return _append(text, _one("polite", rng)) if ending < 0.17 else text


def _append(text: str, extra: str) -> str:
    if not extra:
        return text
    text = text.rstrip(":")
    return f"{text}{'' if text[-1] in '.?!' else '.'} {extra}"


@cache
def _ranks(name: str) -> list[tuple[int, str]]:
    return sorted(_rank_key(text) for text, _ in rows(name, "train", 300, 0))


def _rank_key(text: str) -> tuple[int, str]:
    return len(text), text[:1].lower()


def difficulty(name: str, text: str) -> float:
    """Return the share of the family's inputs that are easier (shorter) than this one."""
    ranks = _ranks(name)
    return bisect_left(ranks, _rank_key(text)) / len(ranks)


def taught(name: str, wording: Wording, row: Row) -> str:
    """Return the answer that the model is taught for a row's input under a wording."""
    text, right = row
    if wording.clarity >= 1 or difficulty(name, text) < wording.clarity:
        return right
    if wording.mistake == "chatty":
        return f"The answer is {right}."
    other = FAMILIES[wording.mistake].solve(text) if wording.mistake in FAMILIES else None
    return text if other is None else other
