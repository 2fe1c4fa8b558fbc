"""A trained generator on disk: an ordinary model folder with a card, and how it is asked for prompts."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from promptopt import plugins
from promptopt.contracts.model import Completion, Decoding, GenerateRequest
from promptopt.contracts.searcher import SearchTask
from promptopt.errors import DataError
from promptopt.records import Example

from ._replies import read_one
from ._rl_asks import Asker, Form
from ._text import chat

CARD = "generator.json"


@dataclass(frozen=True)
class Card:
    """What must be known to use a trained generator.

    Attributes:
        base: what it was trained from, as a model's name, and that model's revision.
        form: scratch, rewrite or conditional.
        meta_prompt: what it is asked.
        demos: rows shown.
        temperature: it was trained at.
        max_tokens: most tokens of a proposal.
        max_chars: longer proposals are dropped.
        steps: it was trained for.
        algorithm: grpo or rloo.
        reward: the last steps' mean score.
        threads: CPU threads it was trained with; None leaves them as they are.
    """

    base: str
    form: Form
    meta_prompt: str
    demos: int
    temperature: float
    max_tokens: int
    max_chars: int
    steps: int
    algorithm: str
    reward: float
    threads: int | None

    def save(self, folder: Path) -> None:
        """Write it beside the weights, for programs and for people."""
        (folder / CARD).write_text(
            json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (folder / "README.md").write_text(self.text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Card:
        """Read what `save` wrote.

        Raises:
            DataError: there is none, or it is another's.
        """
        try:
            return cls(**json.loads((folder / CARD).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                str(folder),
                "holds no trained generator",
                do="name a run of the searcher rl, or its generator folder",
            ) from error

    @property
    def text(self) -> str:
        """The card for people, as Markdown."""
        return (
            f"---\nbase_model: {self.base}\nlibrary_name: transformers\n"
            "pipeline_tag: text-generation\n---\n\n"
            f"# Prompt generator\n\nWrites prompts (form: {self.form}). Trained from `{self.base}` by the "
            f"searcher `rl` of promptopt ({self.algorithm}, {self.steps} steps); its proposals scored "
            f"{self.reward:.3f} on average in the last ten steps. It was rewarded by one task and one target "
            "model: expect nothing of it elsewhere.\n\n"
            "The best prompt of the run is in the run's archive, not here; this model is for new rows of "
            "the same task, and for going on.\n\n"
            f"Asked at temperature {self.temperature}, at most {self.max_tokens} tokens, with this "
            f"message:\n\n```\n{self.meta_prompt}\n```\n\n`promptopt propose FOLDER` asks it.\n"
        )


def propose(
    folder: Path, task: SearchTask, rows: Sequence[Example], n: int, *, seed: int, score: float
) -> list[list[str]]:
    """Return different prompts that a trained generator writes.

    Args:
        folder: of the generator.
        task: what it is told of: rows to show, the prompt to rewrite, the description.
        rows: inputs to write for, of a conditional generator; a list of prompts each. Others write one.
        n: draws for each.
        seed: of the draws.
        score: what the prompt to rewrite scores.
    """
    card = Card.load(folder)
    asker = Asker(task, card.form, card.meta_prompt, card.demos, score)
    asker.check()
    rng = random.Random(seed)
    asks = [asker.ask(rng, row) for row in (rows if card.form == "conditional" else [None])]
    model = plugins.build("models", "hf", {"name": str(folder), "threads": card.threads})
    decoding = Decoding(card.max_tokens, card.temperature, seed=seed)
    requests = [GenerateRequest(chat(ask.text), decoding, sample=i) for ask in asks for i in range(n)]
    replies: list[str | None] = [None] * len(requests)
    for place, outcome in model.generate(requests):
        if isinstance(outcome, Completion) and outcome.finish == "stop":
            replies[place] = read_one(outcome.text, card.max_chars)
    drawn = [replies[at : at + n] for at in range(0, len(replies), n)]
    return [list(dict.fromkeys(text for text in texts if text)) for texts in drawn]
