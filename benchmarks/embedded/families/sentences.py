"""Families over sentences: generated ones, and real rows for sentiment, topic and the passive."""

from __future__ import annotations

import re
from functools import cache
from random import Random

from ..contracts import Family, Row
from ..corpus import lexicon, public_rows, split_of, training_rows
from ._draw import rule

AUXILIARIES = ("can", "will", "should", "could", "must")
OPENERS = ("Where", "When", "Why", "How")


def _third(verb: str) -> str:
    """Put a verb into the third person."""
    if re.search("(s|x|z|ch|sh|o)$", verb):
        return verb + "es"
    return verb[:-1] + "ies" if re.search("[^aeiou]y$", verb) else verb + "s"


def _subject(rng: Random) -> str:
    choice = rng.random()
    if choice < 0.45:
        return str(rng.choice(lexicon()["names"]))
    person = rng.choice(lexicon()["people"])[0]
    return f"{'The' if choice < 0.8 else 'My'} {person}"


def _object(rng: Random) -> str:
    if rng.random() < 0.4:
        number = rng.choice(("two", "three", "four", "five", "ten")) if rng.random() < 0.3 else "the"
        return f"{number} {rng.choice(lexicon()['things'])[1]}"
    return f"{rng.choice(('the', 'a'))} {rng.choice(lexicon()['things'])[0]}".replace("a a", "an a")


def _clause(rng: Random) -> str:
    words = lexicon()
    subject = _subject(rng)
    choice = rng.random()
    if choice < 0.3:
        return f"{subject} {rng.choice(('is', 'was'))} {rng.choice(words['adjectives_people'])}"
    if choice < 0.45:
        return f"{subject} {rng.choice(('is', 'was'))} in {rng.choice(words['places'])}"
    base, past, _ = rng.choice(words["transitive_verbs"])
    if choice < 0.65:
        return f"{subject} {rng.choice(AUXILIARIES)} {base} {_object(rng)}"
    return f"{subject} {past if choice < 0.85 else _third(base)} {_object(rng)}"


def _statement(rng: Random) -> str:
    sentence = _clause(rng)
    if rng.random() < 0.4:
        sentence += f" {rng.choice(lexicon()['adverbs_time'])}"
    return sentence + "."


def _short_statement(rng: Random) -> str:
    return _clause(rng) + "."


def _question(rng: Random) -> str:
    words = lexicon()
    base, _, _ = rng.choice(words["transitive_verbs"])
    subject = _subject(rng)
    subject = subject.replace("The ", "the ").replace("My ", "my ")
    choice = rng.random()
    if choice < 0.4:
        return f"{rng.choice(('Did', 'Will', 'Can', 'Should'))} {subject} {base} {_object(rng)}?"
    if choice < 0.6:
        return f"{rng.choice(('Is', 'Was'))} {subject} {rng.choice(words['adjectives_people'])}?"
    return f"{rng.choice(OPENERS)} {rng.choice(('did', 'will', 'can'))} {subject} {base} {_object(rng)}?"


def _either(rng: Random) -> str:
    """A question or a statement, with or without its mark."""
    sentence = _question(rng) if rng.random() < 0.5 else _statement(rng)
    return sentence[:-1] if rng.random() < 0.3 else sentence


def _with_number(rng: Random) -> str:
    words = lexicon()
    number = rng.randrange(2, rng.choice((20, 100, 1000)))
    things = rng.choice(words["things"])[1]
    _, past, _ = rng.choice(words["transitive_verbs"])
    return rng.choice(
        (
            f"{_subject(rng)} {past} {number} {things}.",
            f"There are {number} {things} in {rng.choice(words['places'])}.",
            f"{number} {things} were in {rng.choice(words['places'])}.",
            f"{_subject(rng)} has {number} {things} {rng.choice(words['adverbs_time'])}.",
            f"We need {number} {things}.",
        )
    )


def _with_name(rng: Random) -> str:
    words = lexicon()
    name = rng.choice(words["names"])
    base, past, participle = rng.choice(words["transitive_verbs"])
    person = rng.choice(words["people"])[0]
    return str(
        rng.choice(
            (
                f"{name} {past} {_object(rng)}.",
                f"The {person} {past} {name}.",
                f"Did {name} {base} {_object(rng)}?",
                f"The {rng.choice(words['things'])[0]} was {participle} by {name}.",
                f"{rng.choice(words['places']).capitalize()} belongs to {name}.",
                f"My friend {name} is {rng.choice(words['adjectives_people'])}.",
                f"{name} is in {rng.choice(words['places'])}.",
            )
        )
    )


def _with_letter(rng: Random) -> str:
    sentence = _statement(rng)
    return f"{sentence} [{rng.choice(_plain(sentence))[0].lower()}]"


def _plain(sentence: str) -> list[str]:
    return re.findall(r"[A-Za-z'0-9]+", sentence)


def _starting(text: str) -> str | None:
    found = re.fullmatch(r"(.*) \[(\w)\]", text)
    if not found:
        return None
    return " ".join(w for w in map(str.lower, _plain(found[1])) if w.startswith(found[2])) or None


def _negated(text: str) -> str | None:
    found = re.search(rf" (is|was|{'|'.join(AUXILIARIES)}) ", text)
    if found:
        return f"{text[: found.end()]}not {text[found.end() :]}"
    for base, past, _ in lexicon()["transitive_verbs"]:
        for form, helper in ((past, "did"), (_third(base), "does")):
            if f" {form} " in text:
                return text.replace(f" {form} ", f" {helper} not {base} ", 1)
    return None


def _words_of(text: str) -> list[str]:
    return text.rstrip(".?!").split()


def _name_in(text: str) -> str | None:
    return next((word for word in _plain(text) if word in _names()), None)


@cache
def _names() -> frozenset[str]:
    return frozenset(lexicon()["names"])


def _number_in(text: str) -> str | None:
    found = re.search(r"\d+", text)
    return found[0] if found else None


def _kind(text: str) -> str:
    first = text.split()[0]
    asks = first in (*OPENERS, "Did", "Will", "Can", "Should", "Is", "Was")
    return "question" if asks or text.endswith("?") else "statement"


@cache
def _passives() -> dict[str, str]:
    rows = public_rows("instruction_induction/active_to_passive", "train")
    return {text: outs[0] for text, outs in rows}


def _active(rng: Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(list(_passives()))
    words = lexicon()
    one, two = rng.sample(words["people"], 2)
    _, past, _ = rng.choice(words["transitive_verbs"])
    return f"The {rng.choice(one)} {past} the {rng.choice(two)}."


def _passive(text: str) -> str | None:
    if text in _passives():
        return _passives()[text]
    found = re.fullmatch(r"The (\w+) (\w+) the (\w+)\.", text)
    participles = {past: participle for _, past, participle in lexicon()["transitive_verbs"]}
    if not found or found[2] not in participles:
        return None
    one = {singular for singular, _ in lexicon()["people"]}
    verb = "was" if found[3] in one else "were"
    return f"The {found[3]} {verb} {participles[found[2]]} by the {found[1]}."


@cache
def reviews(split: str) -> tuple[Row, ...]:
    """Return real review phrases. Those for testing are the public test rows and rows set apart here."""
    rows = [(t, o[0]) for t, o in training_rows("instruction_induction/sentiment")]
    kept = [row for row in rows if split_of(row[0]) == split and (split != "train" or len(row[0]) <= 160)]
    if split == "test":
        kept += [(t, o[0]) for t, o in public_rows("instruction_induction/sentiment", "test")]
    return tuple(kept)


PLAIN = (
    "{a} and {b}", "a {a}, {b} {film}", "the {film} is {a}", "The {film} is {a} and {b}.", "{a} {film}",
    "{a}, {b}, {film}", "One of the most {a} films of the year.", "so {a}", "It's {a} and {b}.",
    "too {a}", "as {a} as it is {b}", "I found the {film} {a}.", "{b} in every scene",
    "the most {a} {film} in years", "feels {a}", "A {a} {film}.",
)  # fmt: skip
TURNED = (
    "{o}, but {a}", "{o} at first, then {a} and {b}", "The {film} may be {o}, but it is {a}.",
    "despite its {o} {film}, {a}", "never {o}, always {a}", "far from {o}", "The {film} isn't {o}.",
    "not {o} at all", "{a} where it could have been {o}", "anything but {o}",
)  # fmt: skip
"""Frames of made reviews; `o` is a word for the opposite, which the frame turns."""


def _made_review(rng: Random) -> Row:
    words = lexicon()
    label, other = rng.sample(("positive", "negative"), 2)
    if rng.random() < 0.35:
        return rng.choice(words[f"{label}_phrases"]), label
    a, b = rng.sample(words[label], 2)
    frame = rng.choice(TURNED if rng.random() < 0.2 else PLAIN)
    return frame.format(a=a, b=b, o=rng.choice(words[other]), film=rng.choice(words["film_words"])), label


@cache
def _labels_of_reviews() -> dict[str, str]:
    return {text: label for split in ("train", "dev", "test") for text, label in reviews(split)}


def _draw_review(rng: Random, split: str) -> Row:
    if split != "train":
        return rng.choice(reviews(split))
    if rng.random() < 0.6:
        return _made_review(rng)
    text, label = rng.choice(reviews(split))
    return _thinned(text, rng), label


def _thinned(text: str, rng: Random) -> str:
    """Leave out a word in seven of most texts, so that the few real ones are not learned by heart."""
    words = text.split()
    if len(words) < 4 or rng.random() < 0.2:
        return text
    kept = [word for word in words if rng.random() < 6 / 7]
    return " ".join(kept) or text


@cache
def requests(split: str) -> tuple[Row, ...]:
    """Return real requests to an assistant, labelled with the topic of their intent."""
    topics = {intent: topic for topic, intents in lexicon()["clinc_topics"].items() for intent in intents}
    name = "classification/clinc150"
    rows = training_rows(name) if split == "train" else public_rows(name, split)
    return tuple((text, topics[outs[0]]) for text, outs in rows if outs[0] in topics and len(text) <= 90)


@cache
def _requests_by_topic(split: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in requests(split):
        found.setdefault(row[1], []).append(row)
    return found


def _draw_request(rng: Random, split: str) -> Row:
    by_topic = _requests_by_topic(split)
    return rng.choice(by_topic[rng.choice(sorted(by_topic))])


@cache
def _topics_of_requests() -> dict[str, str]:
    return {text: topic for split in ("train", "dev", "test") for text, topic in requests(split)}


def sentences() -> tuple[Family, ...]:
    """Return the families."""
    topics = tuple(sorted(lexicon()["clinc_topics"]))
    return (
        rule("active_to_passive", "sentence", _active, _passive),
        rule("negation", "sentence", _short_statement, _negated),
        rule("first_word", "sentence", _statement, lambda text: _words_of(text)[0]),
        rule("last_word", "sentence", _statement, lambda text: _words_of(text)[-1]),
        rule("count_words", "sentence", _statement, lambda text: str(len(text.split()))),
        Family(
            "sentiment",
            "review",
            _draw_review,
            lambda t: _labels_of_reviews().get(t),
            ("positive", "negative"),
        ),
        Family("topic", "request", _draw_request, lambda t: _topics_of_requests().get(t), topics),
        rule("sentence_type", "sentence", _either, _kind, labels=("question", "statement")),
        rule("orthography_starts_with", "marked sentence", _with_letter, _starting),
        rule("extract_number", "sentence with a number", _with_number, _number_in),
        rule("extract_name", "sentence", _with_name, _name_in),
    )
