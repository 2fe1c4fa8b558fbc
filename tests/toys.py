"""A small world for tests: rows, a reward, a target and a proposer that are plain functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from promptopt.contracts.model import Completion, Decoding, GenerateRequest, ModelIdentity
from promptopt.contracts.reward import Output
from promptopt.data import read
from promptopt.programs import Program
from promptopt.prompt import Prompt
from promptopt.records import Budget, Example, Message, Score
from promptopt.run import execute
from promptopt.setup import Setup
from promptopt.splits import Sizes, make_splits
from promptopt.study import Study
from promptopt.task import Task
from promptopt.testing.model import FakeModel

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")
INSTRUCTIONS = ("Write it in capitals.", "Repeat the word.", "Use upper case letters.", "Say hello.")


def rows(n: int = 60) -> list[dict[str, str]]:
    """Return n rows: a word and the same word in capitals."""
    return [
        {
            "id": str(index),
            "input": f"{WORDS[index % 10]}{index}",
            "output": f"{WORDS[index % 10]}{index}".upper(),
        }
        for index in range(n)
    ]


def user_text(request: GenerateRequest) -> str:
    """Return the last message's text."""
    return request.messages[-1].content


def read_input(text: str) -> str:
    """Return what stands behind the last `Input: `."""
    return text.rsplit("Input: ", 1)[1].split("\n", 1)[0]


def target_reply(request: GenerateRequest) -> str:
    """Do as told: capitals if the prompt asks for them, and then only for 9 words in 10."""
    text = user_text(request)
    word = read_input(text)
    told = text.split("Input: ", 1)[0].lower()
    obeys = "capitals" in told or ("upper case" in told and chance(text) < 0.9)
    return word.upper() if obeys else word


def chance(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone."""
    return int(sha256(text.encode()).hexdigest()[:8], 16) / 16**8


def proposer_reply(request: GenerateRequest) -> str:
    """Return one of a few instructions, by sample and text."""
    return INSTRUCTIONS[int(chance(f"{user_text(request)}{request.sample}") * len(INSTRUCTIONS))]


@dataclass
class Exact:
    """1 if the reply is the answer."""

    needs = "text"

    def __call__(self, example: Example, output: Output) -> Score:
        right = output.text == example.answer
        return Score(float(right), "" if right else f"expected {example.answer}")

    def extract(self, text: str) -> str | None:
        return text.strip() or None


@dataclass
class TryAll:
    """Propose n instructions and score them all."""

    n: int = 6

    def search(self, session: Any) -> None:
        seed = session.task.seed_prompt
        ((*texts,),) = session.propose([[Message("user", "Write an instruction.")]], self.n)
        children = [seed.child(instruction=text, origin="try_all") for text in dict.fromkeys(texts)]
        session.score([seed, *children])


@dataclass
class HighestMean:
    """Score all on all rows, take the best."""

    def select(self, score: Any, candidates: int, rows: int, k: int) -> list[int]:
        evaluations = score(range(candidates), rows)
        return sorted(range(candidates), key=lambda place: (-evaluations[place].mean, place))[:k]

    def cells(self, candidates: int, rows: int, k: int) -> int:
        return candidates * rows


def fake(reply: Callable[[GenerateRequest], Any], name: str = "fake") -> FakeModel:
    """Return a model that answers by a function."""
    return FakeModel(reply, identity=ModelIdentity("python", name, "1"))


def make_setup(**changes: Any) -> Setup:
    """Return a small run; `n`, `sizes`, `prompt`, `reward` shape its task, the rest replaces its parts."""
    n = changes.pop("n", 60)
    sizes = changes.pop("sizes", Sizes(search=20, select=15, test=25))
    prompt = changes.pop("prompt", Prompt("Do something."))
    reward = changes.pop("reward", Exact())
    seed = changes.get("seed", 0)
    source: Sequence[Any] = changes.pop("rows", rows(n))
    task = Task(make_splits(read(source), seed=seed, sizes=sizes), ("input",), prompt, reward, "exact")
    parts: dict[str, Any] = {
        "name": "toy",
        "task": task,
        "models": {"target": fake(target_reply, "target"), "proposer": fake(proposer_reply, "proposer")},
        "searcher": TryAll(),
        "selector": HighestMean(),
        "budget": Budget(),
        **changes,
    }
    return Setup(**parts)


def noise(share: float) -> Callable[[GenerateRequest], str]:
    """Return a target that is right on the same share of rows whatever the prompt says."""

    def reply(request: GenerateRequest) -> str:
        text = user_text(request)
        word = read_input(text)
        return word.upper() if chance(text) < share else word

    return reply


def among_equals(seed: int, **options: Any) -> Study:
    """Run a search in which every prompt is right on a random half of the rows."""
    models = {
        "target": fake(noise(0.5), f"t{seed}"),
        "proposer": fake(lambda r: f"Instruction {chance(str(r))}", "p"),
    }
    setup = make_setup(models=models, prompt=Prompt(f"Seed {seed}"), searcher=TryAll(8), seed=seed, **options)
    return execute(setup)


class Named:
    """Score the instructions given."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def search(self, session: Any) -> None:
        seed = session.task.seed_prompt
        session.score([seed.child(instruction=text, origin="x") for text in self.texts])


def wordy(request: GenerateRequest) -> Completion:
    """Reason in forty words before the answer, as far as the limit lets it."""
    text = user_text(request)
    words = [*["hmm"] * 40, read_input(text).upper()] if "step by step" in text else [read_input(text)]
    most = request.decoding.max_tokens
    return Completion(" ".join(words[:most]).replace("hmm ", ""), "length" if len(words) > most else "stop")


def reasoning(
    program: Program,
    decoding: Decoding,
    answer: Callable[[GenerateRequest], str | Completion] = wordy,
    **changes: Any,
) -> Setup:
    """Return a small run whose target reasons as `wordy` does."""
    changes.setdefault("searcher", Named("Write it again."))
    models = {"target": fake(answer, "target"), "proposer": fake(answer, "proposer")}
    return make_setup(
        prompt=Prompt("Write it.", program=program), decoding=decoding, models=models, **changes
    )
