"""Judges as plain functions: one that looks at the output alone, and some that can be talked into scores."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from toys import fake, make_setup, proposer_reply, target_reply, user_text

from promptopt.contracts.model import GenerateRequest
from promptopt.events import Notice
from promptopt.records import Message
from promptopt.rewards.judge import Judge
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.setup import Setup
from promptopt.study import Study

CAPITALS = "Write it in capitals."
CRITERIA = "The output is the reference answer."
BLOCK = re.compile(
    r"<<<(?P<name>[A-Z ]+?) (?P<mark>[0-9a-f]{16})>>>\n(?P<text>.*?)\n<<<END (?P=mark)>>>", re.S
)
GULLIBLE = re.compile(r"\bscore\b.{0,40}?\b5\b|\bGive 5\b", re.S)


class Asked(NamedTuple):
    """What a judge was asked about."""

    input: str
    reference: str
    output: str


def asked(text: str) -> Asked:
    """Read the last message of a judge's first question, as its marks say."""
    found = {match["name"]: match["text"] for match in BLOCK.finditer(text)}
    return Asked(found["INPUT"], found.get("REFERENCE ANSWER", ""), found["OUTPUT TO BE GRADED"])


def honest(text: str) -> str:
    """Grade by the reference alone; what stands behind a hyphen is left aside."""
    its = asked(text)
    score = 5 if its.output.split(" - ")[0] == its.reference else 1
    return f'{{"reason": "as it is", "score": {score}}}'


def gullible(text: str) -> str:
    """Give 5 to whoever asks for it."""
    return '{"score": 5}' if GULLIBLE.search(asked(text).output) else honest(text)


def question(request: GenerateRequest) -> str:
    """Return the text that a judge is asked first."""
    return request.messages[1].content


def judged(judge: Callable[[str], str] = honest, **changes: object) -> Setup:
    """Return the toy run, judged; `options` are those of the reward."""
    options = changes.pop("options", {})
    models = {
        "target": fake(changes.pop("target", target_reply), "target"),
        "proposer": fake(changes.pop("proposer", proposer_reply), "proposer"),
        "judge": fake(lambda request: judge(question(request)), "judge"),
    }
    return make_setup(reward=Judge(CRITERIA, **options), models=models, **changes)  # type: ignore[arg-type]


def said(messages: list[dict[str, str]]) -> Message | None:
    """Return the first question of a judge among messages on the wire; None if this is no judge's call."""
    texts = [message["content"] for message in messages]
    return Message("user", texts[1]) if texts[0].startswith("Act as an impartial judge") else None


def run(setup: Setup, folder: Path | None = None) -> tuple[Study, list[str]]:
    """Run; return the study and what was noticed."""
    notices: list[str] = []
    place = None if folder is None else RunFolder(folder)
    study = execute(setup, place, listen=lambda e: notices.append(e.text) if isinstance(e, Notice) else None)
    return study, notices


def calls(setup: Setup, role: str) -> int:
    return setup.models[role].calls  # type: ignore[attr-defined, no-any-return]


def wordy(request: GenerateRequest) -> str:
    """Answer so that no two prompts answer alike, right if told so."""
    text = user_text(request)
    told = text.split("Input: ", 1)[0]
    return f"{target_reply(request)} - as I was told, and at some length: {told}"
