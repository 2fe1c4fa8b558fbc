"""What the evaluation needs to know of families and wordings, as one record; tests pass another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from promptopt.errors import DataError

from .asking import Expected
from .contracts import Family, Wording
from .corpus import DATA
from .metrics import split_words

FREQUENT = DATA / "corpus" / "lexical" / "frequency_en.tsv"
WORDINGS_A_FAMILY = 100
"""Training wordings drawn of each family to learn which words they are made of."""


@dataclass(frozen=True)
class Material:
    """Families, their rows and their wordings; the functions are those of `families` and `wordings`.

    Attributes:
        families: by name.
        rows: (family, split, n, seed) to rows.
        real_rows: (family, split) to all rows of a public set, or none.
        precise: draws a training wording.
        landscape: (family, seed) to 40 or more wordings, good and bad.
        vague: draws a wording that says nothing of the family.
        misleading: draws the right wording of another family whose inputs look alike.
        human: all wordings of Instruction Induction's annotators, or none.
        held_out: (family, split) to wordings that training has not seen.
        frequent: reads frequent English words.
    """

    families: Mapping[str, Family]
    rows: Callable[[str, str, int, int], Sequence[Expected]]
    real_rows: Callable[[str, str], Sequence[Expected]]
    precise: Callable[[str, Random], Wording]
    landscape: Callable[[str, int], Sequence[Wording]]
    vague: Callable[[Random], str]
    misleading: Callable[[str, Random], str]
    human: Callable[[str], Sequence[str]]
    held_out: Callable[[str, str], Sequence[str]]
    frequent: Callable[[], frozenset[str]]

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word of the training wordings, and the frequent ones."""
        found = set(self.frequent())
        for name in self.families:
            rng = Random(f"words/{name}")
            texts = [self.precise(name, rng).text for _ in range(WORDINGS_A_FAMILY)]
            found.update(word for text in texts for word in split_words(text))
        return frozenset(found)


def load_material() -> Material:
    """Return the families and wordings that the models are trained on."""
    # Here, so that tables and tests need neither the corpus nor the annotations.
    from . import families, wordings

    return Material(
        families=families.FAMILIES,
        rows=families.rows,
        real_rows=families.real_rows,
        precise=wordings.precise,
        landscape=wordings.landscape,
        vague=wordings.vague,
        misleading=wordings.misleading,
        human=wordings.human,
        held_out=wordings.held_out,
        frequent=frequent_words,
    )


def frequent_words() -> frozenset[str]:
    """Read the 20,000 frequent words of the corpus.

    Raises:
        DataError: the file is not there.
    """
    if not FREQUENT.is_file():
        raise DataError(str(FREQUENT), "no such file", do="set PROMPTOPT_DATA to the folder of the corpus")
    lines = FREQUENT.read_text(encoding="utf-8").splitlines()[1:]
    return frozenset(line.split("\t")[0].lower() for line in lines)
