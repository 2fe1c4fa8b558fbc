"""Training documents: one tree at a time, drawn from the mixture of what the model is to learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from .contracts import Family, Row, Segment, Tree, Wording
from .families import FAMILIES
from .families.lists import items
from .layout import ASSISTANT, END, READ, USER, WRITE, Layout
from .proposing import instruction_tree
from .wordings import partial, precise, stepwise, taught, vague

WEIGHTS = {
    "first_word_letter": 0.9, "second_word_letter": 0.9, "last_letter": 0.9, "letters_list": 1.3,
    "uppercase": 1.2, "reverse_word": 1.8, "word_length": 1.3, "singular_to_plural": 1.6, "past_tense":
    1.3, "antonyms": 1.4, "synonyms": 1.0, "category": 0.9, "country_capital": 0.7, "english_to_german":
    1.3, "german_to_english": 1.0, "opposite_gender": 0.8, "comparative": 0.8, "larger_animal": 1.2,
    "sum": 2.2, "diff": 2.0, "max": 1.3, "min": 1.1, "num_to_verbal": 1.1, "words_to_num": 0.9,
    "next_num": 1.0, "even_odd": 1.0, "sum_three": 1.8, "active_to_passive": 1.0, "negation": 1.2,
    "first_word": 0.7, "last_word": 1.0, "count_words": 1.1, "sentiment": 1.4, "topic": 1.6,
    "sentence_type": 0.5, "orthography_starts_with": 1.6, "extract_number": 0.7, "extract_name": 0.7,
    "taxonomy_animal": 1.6, "first_item": 0.6, "last_item": 0.9, "sort": 2.0, "last_letters": 1.2,
    "larger_product": 1.6, "noun_supersense": 0.5, "verb_supersense": 0.15,
}  # fmt: skip
"""How often a family is drawn, by how hard it is to learn."""

LONG = frozenset(
    {"sentence", "review", "request", "list", "marked sentence", "sentence with a number", "pair"}
)
ALONE = frozenset(
    {
        "country", "german", "person", "adjective", "number name", "thing", "term", "request", "noun", "verb",
        "products",
    }
)  # fmt: skip
STEPS = tuple(name for name, family in FAMILIES.items() if family.steps)
LABELLED = tuple(
    family for family in FAMILIES.values() if family.labels and not family.name.endswith("_supersense")
)
"""Families whose groups are renamed; that of rare words would tell what only their own rows should."""
KINDS = tuple({family.kind: family for family in FAMILIES.values()}.values())
"""One family of each kind of input."""
INVENTED = (
    "positive negative", "A B", "yes no", "X Y", "red blue", "0 1", "one two", "cat dog", "up down",
    "good bad", "left right", "true false", "foo bar", "high low",
)  # fmt: skip


def tree(rng: Random) -> Tree:
    """Draw a document: half of them instructions, the others demonstrations, steps and meta-prompts."""
    kinds: tuple[Callable[[Random], Tree], ...] = (instructed, demonstrated, regrouped, reasoned, proposed)
    return rng.choices(kinds, (46, 21, 10, 7, 16))[0](rng)


def proposed(rng: Random) -> Tree:
    """A meta-prompt and the instructions that answer it."""
    return instruction_tree(rng, family)


def family(rng: Random) -> Family:
    """Draw a family by its weight."""
    return FAMILIES[rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]]


def instructed(rng: Random) -> Tree:
    """An instruction and several inputs, each with the answer that the instruction earns."""
    its = family(rng)
    wording = _wording(its, rng)
    layout = Layout.draw(rng)
    count = 4 if its.kind in LONG else 6
    rows = [its.draw(rng, "train") for _ in range(count)]
    answers = [taught(its.name, wording, row) for row in rows]
    return Tree(
        _asked(layout, wording),
        tuple(_answered(layout.given(text), answer) for (text, _), answer in zip(rows, answers, strict=True)),
    )


def _wording(its: Family, rng: Random) -> Wording:
    # Where an input is of one family only, the model would guess the task without being asked.
    clear = 0.5 if its.kind in ALONE else 0.62
    choice = rng.random()
    if choice < clear:
        return precise(its.name, rng)
    if choice < clear + 0.25:
        return partial(its.name, rng)
    kinds = (
        lambda: Wording(vague(rng), "vague", 0.0),
        lambda: Wording("", "none", 0.0),
        lambda: _unfit(its, rng),
    )
    return rng.choice(kinds)()


def _unfit(its: Family, rng: Random) -> Wording:
    """An instruction for other inputs; of the same kind it would simply be followed."""
    while True:
        other = rng.choice(list(FAMILIES.values()))
        sample = its.draw(rng, "train")[0]
        if other.kind != its.kind and other.solve(sample) is None:
            return Wording(precise(other.name, rng).text, "misleading", 0.0)


def demonstrated(rng: Random) -> Tree:
    """Demonstrations, at times under an instruction or with labels of their own, and three more inputs."""
    its = family(rng)
    layout = Layout.draw(rng)
    draw = _relabelled(its, rng) if its.labels and rng.random() < 0.6 else lambda: its.draw(rng, "train")
    most = 5 if its.kind in LONG and not its.labels else 8
    rows = [draw() for _ in range(rng.choice((1, 2, 3, 4, 5, most, most, most)))]
    choice = rng.random()
    wording = precise(its.name, rng) if choice < 0.15 else partial(its.name, rng) if choice < 0.22 else None
    return _shown(layout, wording.text if wording else "", rows, [draw(), draw(), draw()])


def _shown(layout: Layout, instruction: str, rows: Sequence[Row], asked: Sequence[Row]) -> Tree:
    """Demonstrations, and inputs that ask for the same."""
    segments: list[Segment] = [(f"{USER}{layout.head(instruction)}", READ)]
    for index, (text, answer) in enumerate(rows):
        segments.append((layout.before + layout.shown(text), READ))
        segments.append((f"{layout.joint}{answer}\n\n", WRITE if index else 3 * READ))
    return Tree(
        tuple(segments),
        tuple(_answered(layout.before + layout.given(text), answer) for text, answer in asked),
    )


def regrouped(rng: Random) -> Tree:
    """Demonstrations of groups under names that only they tell, and four inputs of those groups.

    Models learn to read the labels of demonstrations from tasks whose labels mean nothing by themselves
    (Wei et al. 2023, "Symbol tuning improves in-context learning"). The groups are a family's labels, or
    the inputs of different families.
    """
    if rng.random() < 0.75:
        its = rng.choices(LABELLED, [WEIGHTS[each.name] ** 0.5 for each in LABELLED])[0]
        labels = rng.sample(its.labels, min(len(its.labels), rng.choice((2, 2, 2, 3, 4))))
        groups = [_group(its, label) for label in labels]
    else:
        labels = rng.sample([family.kind for family in KINDS], rng.choice((2, 2, 3)))
        groups = [_inputs(next(each for each in KINDS if each.kind == kind)) for kind in labels]
    names = _names(labels, rng)
    # Each group once, so that every name is told, then at random.
    order = [*range(len(groups)), *rng.choices(range(len(groups)), k=8)][: rng.choice((4, 6, 8, 8))]
    rng.shuffle(order)
    rows = [(groups[group](rng), names[group]) for group in order]
    asked = [(groups[group](rng), names[group]) for group in rng.choices(range(len(groups)), k=4)]
    return _shown(Layout.draw(rng), "", rows, asked)


def _names(labels: Sequence[str], rng: Random) -> list[str]:
    """Rename labels: moved round among each other, or invented."""
    if rng.random() < 0.4:
        by = rng.randrange(1, len(labels))
        return [*labels[by:], *labels[:by]]
    if rng.random() < 0.4 and len(labels) == 2:
        names = rng.choice(INVENTED).split()
        return names if rng.random() < 0.5 else names[::-1]
    return rng.sample(items(), len(labels)) if rng.random() < 0.7 else rng.sample("ABCDEFGHXYZ", len(labels))


def _group(its: Family, label: str) -> Callable[[Random], str]:
    def draw(rng: Random) -> str:
        while True:
            text, answer = its.draw(rng, "train")
            if answer == label and len(text) <= 60:
                return text

    return draw


def _inputs(its: Family) -> Callable[[Random], str]:
    def draw(rng: Random) -> str:
        while True:
            text = its.draw(rng, "train")[0]
            if len(text) <= 60:
                return text

    return draw


def _relabelled(its: Family, rng: Random) -> Callable[[], Row]:
    """Rename the labels, so that only the demonstrations tell them: swapped among each other, or invented."""
    labels = rng.sample(its.labels, min(len(its.labels), rng.choice((2, 2, 3))))
    if len(labels) == 2 and rng.random() < 0.6:
        names = rng.choice(INVENTED).split()
        rng.shuffle(names)
    else:
        names = labels[1:] + labels[:1]
    renamed = dict(zip(labels, names, strict=True))

    def draw() -> Row:
        label = rng.choice(labels)
        while True:
            text, answer = its.draw(rng, "train")
            if answer == label and len(text) <= 70:
                return text, renamed[answer]

    return draw


def reasoned(rng: Random) -> Tree:
    """A call for steps: worked answers where there are steps to take, in one call or in two."""
    if rng.random() < 0.12:
        its = family(rng)
        if its.steps is None:
            return _without_steps(its, rng)
    its = FAMILIES[rng.choice(STEPS)]
    assert its.steps
    rows = [its.draw(rng, "train") for _ in range(4)]
    layout = Layout.draw(rng)
    if rng.random() < 0.5:
        wording = stepwise(its.name, rng)
        return Tree(
            _asked(layout, wording), tuple(_answered(layout.given(text), its.steps(text)) for text, _ in rows)
        )
    wording = precise(its.name, rng)
    asks = [
        (f"{layout.given(text)}\n\nLet's think step by step.", its.steps(text), answer)
        for text, answer in rows
    ]
    return Tree(_asked(layout, wording), tuple(_concluded(*ask) for ask in asks))


def _without_steps(its: Family, rng: Random) -> Tree:
    wording, layout = precise(its.name, rng), Layout.draw(rng)
    asks = [
        (f"{layout.given(text)}\n\nLet's think step by step.", f"The answer is {answer}.", answer)
        for text, answer in (its.draw(rng, "train") for _ in range(3))
    ]
    return Tree(
        _asked(layout, wording),
        tuple(_concluded(*ask) for ask in asks),
    )


def _asked(layout: Layout, wording: Wording) -> tuple[Segment, ...]:
    """The trunk of a document: the instruction, up to the inputs."""
    return ((f"{USER}{layout.head(wording.text)}{layout.before}", READ),)


def _answered(read: str, answer: str) -> tuple[Segment, ...]:
    return (read, READ), (ASSISTANT, 0.0), (f"{answer}{END}", WRITE)


def _concluded(read: str, steps: str, answer: str) -> tuple[Segment, ...]:
    """The two calls of zero-shot chain of thought (Kojima et al. 2022)."""
    again: Segment = (f"{USER}Therefore, the answer is", READ)
    return (*_answered(read, steps), again, (ASSISTANT, 0.0), (f"{answer}{END}", WRITE))
