"""From a cell to the very calls behind it: asked again of the journal, under the keys that hold everything.

The prompt is rendered for the row and its program is walked through, each step answered by the journal. What
is found under a key is what was sent and what came back, byte for byte (LAW 2); what is not there is left
out, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..contracts.model import Completion, Decoding, Failure, LikelihoodRequest, Request
from ..contracts.reward import AsksJudge, Output
from ..errors import PromptOptError
from ..judging import ROLE
from ..keys import key_of, request_text
from ..programs import Single
from ..prompt import Prompt
from ..records import Example, canonical_json
from .archive import Archive, Exchange


class Replay:
    """Finds the calls of cells in one journal."""

    def __init__(self, archive: Archive) -> None:
        """Read which model answered, and how it decoded."""
        self._archive = archive
        models, decoding = archive.meta("models"), archive.meta("decoding")
        self.able = bool(models and decoding)
        """Whether the journal says what its keys are made of; those of early versions do not."""
        if self.able:
            self._identities = {role: canonical_json(model) for role, model in models.items()}
            self._decoding = Decoding(**{**decoding, "stop": tuple(decoding["stop"])})

    def calls(self, prompt: Prompt, example: Example, sample: int = 0) -> tuple[Exchange, ...]:
        """Return the calls of a cell in order: its program's, else those that scored likelihoods."""
        if not self.able:
            return ()
        return self._program(prompt, example, sample) or tuple(
            found for found in self.likelihoods(prompt, example) if found is not None
        )

    def opinions(self, reward: AsksJudge, example: Example, text: str) -> tuple[Exchange, ...]:
        """Return the calls by which a judge scored an output, in order."""
        output, found = Output(text), list[Exchange]()
        while self.able and ROLE in self._identities and (asked := reward.questions(example, output)):
            step = [one for one in self._find(asked, ROLE) if one is not None]
            found += step
            if len(step) < len(asked) or any(isinstance(one.outcome, Failure) for one in step):
                break
            output = replace(output, opinions=(*output.opinions, *(one.outcome for one in step)))
        return tuple(found)

    def likelihoods(self, prompt: Prompt, example: Example) -> list[Exchange | None]:
        """Return the calls that scored the row's options, else the one that scored its answer."""
        if not self.able or not isinstance(prompt.program, Single):
            return []
        messages = prompt.render(example)
        options = self._find([LikelihoodRequest(messages, text, prompt.adapter) for text in example.options])
        if any(options) or not example.answers:
            return options
        return self._find([LikelihoodRequest(messages, example.answer, prompt.adapter)])

    def replies(self, prompt: Prompt, examples: Sequence[Example]) -> list[Exchange | None]:
        """Return the first call of each row's cell, for programs of one call: one look at the journal."""
        if not self.able or prompt.program.calls != 1:
            return [None] * len(examples)
        requests: list[Request] = []
        for example in examples:
            (ask,) = next(_walk(prompt, example, 0))
            requests.append(ask.request(self._decoding, prompt.adapter))
        return self._find(requests)

    def _program(self, prompt: Prompt, example: Example, sample: int) -> tuple[Exchange, ...]:
        walk, found = _walk(prompt, example, sample), []
        try:
            asks = next(walk)
            while True:
                step = self._find([ask.request(self._decoding, prompt.adapter) for ask in asks])
                found += [exchange for exchange in step if exchange is not None]
                answers = [exchange.outcome for exchange in step if exchange is not None]
                replies = tuple(answer for answer in answers if isinstance(answer, Completion))
                if len(replies) < len(asks):
                    break
                asks = walk.send(replies)
        except (StopIteration, PromptOptError):  # the answer is spoken, or could not be
            pass
        return tuple(found)

    def _find(self, requests: Sequence[Request], role: str = "target") -> list[Exchange | None]:
        keys = [key_of(self._identities[role], request_text(request)) for request in requests]
        found = self._archive.exchanges(keys)
        return [found.get(key) for key in keys]


def _walk(prompt: Prompt, example: Example, sample: int) -> Any:
    # Votes are counted by what a reward reads out of a reply; which calls are made does not depend on it.
    return prompt.program.run(prompt.render(example), lambda text: text, sample)
