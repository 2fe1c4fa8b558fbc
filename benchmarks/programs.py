"""Do the programs show the direction that their papers report? On a scripted target built for it.

    python -m benchmarks.programs [--rows 300]

The target reasons in steps and errs in some of them, always alike for the same text and sample. Sums: a step
goes wrong with a fixed chance, and less sure of itself; so one greedy path is as good as one sample, and a
vote over samples better than either (Wang et al. 2023, table 1). Last letters: reasoning through all words at
once errs more with every further word, adding one letter to an answer that stands in the context does not
(Zhou et al. 2023, table 4). What a program leaves out of the context, the target cannot use.

Exit code 1 says that a difference does not have the published sign with its interval on one side of 0.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from promptopt import plugins
from promptopt.calls import Caller
from promptopt.contracts.model import Completion, Decoding, GenerateRequest, ModelIdentity
from promptopt.data import read
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.programs import ChainOfThought, LeastToMost, Program, SelfConsistency, Single
from promptopt.prompt import Prompt
from promptopt.proof.stats import mean_interval, paired_interval
from promptopt.records import Evaluation, Example, Usage
from promptopt.scoring import Scorer
from promptopt.testing.model import FakeModel

STEP_ERROR, SURE, UNSURE = 0.12, -0.1, -0.9
"""Chance that a step of a sum goes wrong; log-probability a token of a right and of a wrong one."""
LETTER_ERROR, DISTANCE_ERROR, NEAR = 0.02, 0.03, 3
"""Chance that a letter goes wrong: a constant, and so much more for every word behind the third."""
LENGTHS = (4, 8, 12)
MARKER = "The answer is"


def chance(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts alone."""
    return int(sha256("|".join(map(str, parts)).encode()).hexdigest()[:12], 16) / 16**12


def add_up(request: GenerateRequest) -> Completion:
    """Answer `Input: 3 + 5 + 7`, with steps where it is asked to think."""
    text = request.messages[0].content
    if len(request.messages) > 1:  # it is asked to conclude from its own reasoning
        return said(request.messages[1].content.rsplit(f"{MARKER} ", 1)[1].rstrip("."))
    terms = [int(term) for term in re.findall(r"Input: (.+)", text)[-1].split(" + ")]
    path = request.sample if request.decoding.temperature else "greedy"
    if "step by step" not in text:
        return said(str(sum(terms) + (chance("at once", terms) > 0.25)))
    total, steps, logprobs = terms[0], [], []
    for place, term in enumerate(terms[1:]):
        wrong = chance("sum", terms, path, place) < STEP_ERROR
        slip = 1 + int(chance("slip", terms, path, place) * 9) if wrong else 0
        steps.append(f"{total} + {term} = {total + term + slip}.")
        logprobs.append(UNSURE if wrong else SURE)
        total += term + slip
    return said(f"{' '.join(steps)} {MARKER} {total}.", sum(logprobs) / len(logprobs))


def last_letters(request: GenerateRequest) -> Completion:
    """Answer `Input: think machine`, by steps, or by what stands answered in the context."""
    text = request.messages[0].content
    if len(request.messages) > 1:
        return said(request.messages[1].content.rsplit(f"{MARKER} ", 1)[1].rstrip("."))
    words = re.findall(r"Input: (.+)", text)[-1].split()
    if "simpler questions" in text:
        return said(
            "\n".join(f"{n - 1}. Last letters of {' '.join(words[:n])}" for n in range(2, len(words)))
        )
    solved = dict(re.findall(r"Q: Last letters of (.+)\nA: (\w+)", text))
    asked = re.findall(r"Q: Last letters of (.+)\nA:$", text)
    words = asked[0].split() if asked else words
    if known := solved.get(" ".join(words[:-1])):
        return said(known + letter(words, len(words) - 1, LETTER_ERROR))
    errors = [LETTER_ERROR + DISTANCE_ERROR * max(0, place + 1 - NEAR) for place in range(len(words))]
    answer = "".join(letter(words, place, error) for place, error in enumerate(errors))
    return said(f"{MARKER} {answer}." if "step by step" in text else answer)


def letter(words: Sequence[str], place: int, error: float) -> str:
    """Return the last letter of a word, or, by mistake, its first."""
    return words[place][0 if chance("letter", words, place) < error else -1]


def said(text: str, logprob: float | None = None) -> Completion:
    return Completion(text, usage=Usage(1, len(text.split())), logprob=logprob)


@dataclass(frozen=True)
class Bench:
    """Programs on one task: every program on the same rows, each call in the journal."""

    reply: Callable[[GenerateRequest], Completion]
    reward: str
    rows: Sequence[Example]

    def run(self, programs: Sequence[Program]) -> list[Evaluation]:
        """Return one evaluation a program, and print it."""
        journal = Journal()
        model = FakeModel(self.reply, identity=ModelIdentity("python", self.reply.__name__))
        caller = Caller({"target": model}, journal, Ledger())
        rewards = {self.reward: plugins.build("rewards", self.reward)}
        scorer = Scorer(caller, journal, rewards, decoding=Decoding(max_tokens=200))
        evaluations = []
        for program in programs:
            before = journal.count("calls")
            prompt = Prompt("Work it out.", program=program)
            (evaluation,) = scorer.evaluate([prompt], self.rows, self.reward, "search")
            calls = (journal.count("calls") - before) / len(self.rows)
            interval = mean_interval(list(evaluation.values.values()))
            print(f"  {label(program):<28}{evaluation.mean:.3f} {interval}  {calls:.1f} calls a row")
            evaluations.append(evaluation)
        journal.close()
        return evaluations


def label(program: Program) -> str:
    vote = f", {program.vote}" if isinstance(program, SelfConsistency) else ""
    return f"{program.name}{vote}"


def better(name: str, winner: Evaluation, loser: Evaluation) -> bool:
    """Print the paired difference; return whether it is reliably above 0."""
    differences = [winner.values[row] - loser.values[row] for row in loser.values]
    interval = paired_interval(differences, seed=0)
    print(f"  {name}: {sum(differences) / len(differences):+.3f} {interval}")
    return interval.low > 0


def sums(count: int, rng: random.Random) -> bool:
    print(f"noisy sums, {count} rows")
    terms = [[rng.randint(10, 99) for _ in range(rng.randint(4, 7))] for _ in range(count)]
    rows = [{"input": " + ".join(map(str, each)), "output": str(sum(each))} for each in terms]
    votes = {"n": 5, "trigger": ChainOfThought().trigger, "answer": MARKER}
    single, greedy, plain, weighted = Bench(add_up, "numeric", read(rows).examples).run(
        [Single(), ChainOfThought(), SelfConsistency(**votes), SelfConsistency(**votes, vote="weighted")]
    )
    return all(
        [
            better("chain of thought - single", greedy, single),
            better("self-consistency - chain of thought", plain, greedy),
            better("weighted vote - chain of thought", weighted, greedy),
        ]
    )


def letters(count: int, rng: random.Random) -> bool:
    good = []
    for length in LENGTHS:
        print(f"last letters of {length} words, {count} rows")
        words = [[word(rng) for _ in range(length)] for _ in range(count)]
        rows = [{"input": " ".join(each), "output": "".join(w[-1] for w in each)} for each in words]
        bench = Bench(last_letters, "exact_match", read(rows).examples)
        thought, least = bench.run([ChainOfThought(), LeastToMost(most=max(LENGTHS))])
        good.append(better("least-to-most - chain of thought", least, thought))
    return all(good[1:])  # at 4 words both are nearly always right


def word(rng: random.Random) -> str:
    """Return a made-up word whose first and last letters differ."""
    first, *middle, last = rng.sample("abcdefghijklmnopqrstuvwxyz", 5)
    return "".join((first, *middle, last))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=300, help="rows a task")
    count = parser.parse_args(argv).rows
    rng = random.Random(0)
    good = [sums(count, rng), letters(count, rng)]
    print("as published" if all(good) else "NOT as published")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
