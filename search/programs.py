"""Programs: which way of making an answer from model calls suits the seed prompt and the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError
from promptopt.programs import PROGRAMS, FewShotChainOfThought, Program, program_from_dict

from ._choice import starting
from ._text import unique


@dataclass(frozen=True)
class Programs:
    """Try the prompt with each program, keep the best; needs no proposer.

    More calls an answer are no argument against a program here: set `objective: pareto` to weigh what an
    answer costs. `few_shot_chain_of_thought` is left out where the prompt has no demonstrations to reason
    like.

    Attributes:
        programs: names, or mappings with `name` and options; by default all, as they come.
    """

    programs: tuple[Any, ...] = tuple(PROGRAMS)

    def __post_init__(self) -> None:
        """Refuse what is no program, before anything is bought."""
        for given in self.programs:
            _build(given)

    def search(self, session: Session) -> None:
        """Select among the programs on the seed prompt, and on what there is to start from besides.

        Raises:
            ConfigError: the reward scores likelihoods, which only `single` has.
            UnsupportedError: a program needs log-probabilities that the target does not tell.
        """
        bases = starting(session)
        pool = [
            base
            if program == base.program
            else base.child(program=program, origin=f"programs/{program.name}")
            for base in bases
            for program in map(_build, self.programs)
            if base.demonstrations or not isinstance(program, FewShotChainOfThought)
        ]
        session.select(unique([*bases, *pool]), 1)


def _build(given: Any) -> Program:
    if isinstance(given, str):
        return program_from_dict({"name": given})
    if isinstance(given, Mapping):
        return program_from_dict(dict(given))
    if isinstance(given, Program):
        return given
    raise ConfigError(
        "searcher programs.programs", "not a program", got=given, do="write a name, or a mapping with one"
    )
