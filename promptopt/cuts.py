"""Whose replies the token limit has ended, in what was scored, and which setting of the job is to blame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .contracts.model import Decoding
from .errors import shorten
from .programs import Program, Single, reasons
from .prompt import Prompt
from .proof.cutoff import Cut, Cutoff
from .records import Evaluation
from .study import Candidate
from .visible import one_line

Judged = tuple[str, Prompt, Cutoff]
"""Whose replies, in words (`your prompt`), the prompt, and what the token limit did to them."""


def look_for_cuts(judged: Iterable[Judged], decoding: Decoding) -> tuple[Cut, ...]:
    """Return what the token limit did to each prompt that has answers, and which setting it is.

    Args:
        judged: the prompts.
        decoding: the job's.
    """
    return tuple(
        Cut(whose, setting_of(prompt.program, counts.limit, decoding), counts)
        for whose, prompt, counts in judged
        if counts.cells
    )


def judged_alone(scored: Sequence[tuple[Prompt, Cutoff]]) -> list[Judged]:
    """Say whose replies they are where prompts are scored side by side."""
    if len(scored) == 1:
        return [("the prompt", *scored[0])]
    return [(f"the prompt {shorten(one_line(prompt.label), 40)}", prompt, cut) for prompt, cut in scored]


def setting_of(program: Program, limit: int, decoding: Decoding) -> str:
    """Return the key of a job file that has a program's replies end at a limit."""
    if _has_own_limit(program):
        return "program.max_tokens"
    reasoned = reasons(program) and limit == (decoding.reasoning_tokens or decoding.max_tokens)
    return "target.decoding.reasoning_tokens" if reasoned else "target.decoding.max_tokens"


def _has_own_limit(program: Program) -> bool:
    return isinstance(program, Single) and program.max_tokens is not None


def judged_in(
    seed_prompt: Prompt, best: Prompt, met: Sequence[Evaluation], candidates: Sequence[Candidate]
) -> list[Judged]:
    """Return what a run is judged by: seed prompt and winner, and a prompt of each program that lost.

    Prompts with a limit of their own (`program.max_tokens`) are left out of those: they were tried with it.

    Args:
        seed_prompt: the prompt to beat.
        best: the winner.
        met: what the two scored on the rows of the verdict.
        candidates: all prompts.
    """
    judged = [("your prompt", seed_prompt, Cutoff.of(met[0]))]
    if best != seed_prompt:
        judged.append(("the best prompt", best, Cutoff.of(met[-1])))
    largest: dict[Program, Judged] = {}
    for candidate in candidates:
        program = candidate.prompt.program
        if _has_own_limit(program) or program in (seed_prompt.program, best.program):
            continue
        for evaluation in filter(None, (candidate.test, candidate.select, candidate.search)):
            known, counts = largest.get(program), Cutoff.of(evaluation)
            if known is None or counts.cells > known[2].cells:
                largest[program] = (f"the program {program.name}", candidate.prompt, counts)
    return [*judged, *largest.values()]
