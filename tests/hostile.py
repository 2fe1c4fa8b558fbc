"""A run in which all that comes from outside is hostile: rows, prompts, replies, feedback, failures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toys import chance, fake, make_setup, read_input, user_text

from promptopt.contracts.model import Failure, GenerateRequest
from promptopt.contracts.reward import Output
from promptopt.records import Budget, Example, Price, Score
from promptopt.report.write import leave_report
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.study import Study

SCRIPT = "</script></style><script>document.title='owned'</script><img src=x onerror=alert(1)>"
FORMULA = "=CMD()|'/c calc'!A0"
ANSI = "\x1b[31mred\x1b[2J\x07"
BIDI = "safe\u202egnp.exe\u2066"
TEMPLATE = "{{ 7*7 }}{% raw %}"
HOSTILE = " ".join((SCRIPT, FORMULA, ANSI, BIDI, TEMPLATE, "\u2028", "| pipe `tick` **bold**", "]]>"))
INSTRUCTION = f"Write it in capitals. {HOSTILE}"
ACTS = "\x1b\x07\u202e\u2066\u2028"
"""Characters that act on a screen; no report may hold one of them."""


@dataclass
class Exact:
    """1 if the reply begins with the answer; its feedback quotes the reply."""

    needs = "text"

    def __call__(self, example: Example, output: Output) -> Score:
        return Score(float(output.text.startswith(example.answer)), f"the reply was {output.text}")

    def extract(self, text: str) -> str | None:
        return text.strip() or None


def target_reply(request: GenerateRequest) -> Any:
    """Answer as told, with something hostile behind it; fall over for one row in forty."""
    text = user_text(request)
    word = read_input(text)
    if chance(f"fall {word}") < 0.03:
        return Failure("rejected", f"HTTP 400: {HOSTILE}")
    told = "capitals" in text.split("Input: ", 1)[0]
    return f"{word.upper() if told and chance(word) < 0.9 else word} {HOSTILE}"


@dataclass
class Tries:
    """Score a few children of the seed prompt, the hostile one among them, and say so."""

    def search(self, session: Any) -> None:
        seed = session.task.seed_prompt
        first = seed.child(instruction=f"Say it. {HOSTILE}", origin=f"try/{HOSTILE}")
        second = first.child(instruction=INSTRUCTION, origin="try/again")
        session.note(f"about to try: {HOSTILE}")
        session.score([first], 8)
        session.score([second])
        session.report(f"found something: {HOSTILE}", {"odd": HOSTILE})


def rows(n: int = 60) -> list[dict[str, str]]:
    """Return rows whose id, input and column are hostile."""
    return [
        {
            "id": f"{index} {HOSTILE if index % 7 == 0 else ''}",
            "input": f"word{index} {SCRIPT if index % 3 == 0 else ''}".strip(),
            "kind": ("plain", FORMULA, BIDI)[index % 3],
            "output": f"word{index} {SCRIPT if index % 3 == 0 else ''}".strip().upper(),
        }
        for index in range(n)
    ]


def make_hostile_run(folder: Path, **changes: Any) -> tuple[RunFolder, Study]:
    """Run to the verdict in a folder of its own, and leave the report there."""
    parts: dict[str, Any] = {
        "rows": rows(),
        "reward": Exact(),
        "searcher": Tries(),
        "models": {"target": fake(target_reply, "target"), "proposer": fake(target_reply, "proposer")},
        "prices": {"target": Price(1.0, 2.0), "proposer": Price(1.0, 2.0)},
        "budget": Budget(usd=5.0),
        "lock": {"python": True, "name": "hostile", "description": HOSTILE, "search": "tries"},
        **changes,
    }
    place = RunFolder(folder)
    study = execute(make_setup(**parts), place)
    return place, leave_report(study, lambda event: None)
