"""The option that the reply chooses, by letter or by text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from promptopt.contracts.reward import Needs, Output
from promptopt.records import Example, Score

from ._choice import LETTERS, Choices, right_choices
from ._text import answers_of, conclusion, fold, phrase, quote, quote_any, squad, tail

_MARKUP = " \t*_\"'`"
# `(B) …`, `[B]`, `B) …`, `B. …`, `option B …`, and a bare capital before punctuation, a reason or the end: A
# and I before another word are English words.
_LEADING = re.compile(
    r"""
    (?:(?:option|choice)\s+)?[(\[](?P<bracketed>[A-Za-z])[)\]]
    | (?:(?:[Oo]ption|[Cc]hoice)\s+)?(?P<marked>[A-Za-z])(?:[):]|\.(?!\w))
    | (?:[Oo]ption|[Cc]hoice)\s+(?P<option>[A-Za-z])\b
    | (?P<bare>[A-Z])(?=[*_"'`]*(?:$|[,;!?]|\s+(?:-|–|—|because\b|since\b|as\b|is\b)))
    """,
    re.VERBOSE,
)
# What takes a letter back: `(A) is wrong`, `(A) or (B)`.
_UNDECIDED = re.compile(r"\s+(?:(?:is|was)\s+(?:not|wrong|incorrect|false)|isn['’]t|wasn['’]t|or|and)\b")
_BRACKETED = re.compile(r"\(([A-Za-z])\)")
_STANDALONE = re.compile(
    r"(?<![\w'’-])(?:[B-HJ-Z](?![\w'’+#-])|[AI](?=[*_\"`]*(?:[.,;!?)]|\s(?:or|and)\b|$)))", re.MULTILINE
)
_PAUSE = re.compile(r"[*_\"'`\s]*(?:$|[.,:;!?\n(-])")


@dataclass
class MultipleChoice:
    r"""1 if the reply chooses an option that is an accepted answer, else 0.

    The options are those of the row, each with its own letter (`(A)`, `B) dog`) or, when they have none, a
    letter by position. A row without options is read by letter alone. Texts are compared in lower case with
    white space folded, then without punctuation and articles where that still tells the options apart.

    Reading; the first rule that applies decides:

    1. the reply as a whole is an option's letter or text (or one of the other accepted answers);
    2. the line that follows the last `answer is` or `answer:`, and before it what stands in the last LaTeX
       `\boxed{…}`: as a whole, else by the letter or text it begins with, else by the texts it mentions;
    3. a letter at the start of a line: `(B)`, `B)`, `B.`, `option B`, `B because`; then an option's text at
       the start of the reply, before a pause;
    4. a letter in round brackets anywhere, then an option's text as whole words anywhere (`not the same`
       is not `same`), then a capital that stands alone.

    A reply for which the rule finds several options (`A or B`), a letter with the text of another option
    (`B) cat` where that is A), or nothing, is not parsed. Of a very long reply only the last 100,000
    characters are read.
    """

    needs: Needs = field(default="text", init=False, repr=False)

    def __call__(self, example: Example, output: Output) -> Score:
        """Compare the chosen option with the accepted answers."""
        choices = Choices.of(example.options) if example.options else LETTERS
        right = right_choices(example, choices, "multiple_choice")
        others = [a for a in answers_of(example, "multiple_choice") if choices.named(a) is None]
        if any(squad(output.text) == squad(other) for other in others):
            return Score(1.0, "correct")
        expected = f"expected {quote_any([choices.options[i] for i in sorted(right)])}"
        chosen = sorted(read_choice(output.text, choices))
        if not chosen:
            return Score(0.0, f"no option in the reply {quote(output.text)}; {expected}", parsed=False)
        if len(chosen) > 1:
            several = quote_any([choices.options[i] for i in chosen])
            return Score(0.0, f"the reply may mean {several}; {expected}", parsed=False)
        if chosen[0] in right:
            return Score(1.0, "correct")
        return Score(0.0, f"{expected} but the reply chose {quote(choices.options[chosen[0]])}")

    def extract(self, text: str) -> str | None:
        """Return the chosen letter, or else the normalised text of the answer."""
        letters = _lettered(tail(text))
        if len(letters) == 1:
            return LETTERS.options[letters.pop()]
        return squad(conclusion(tail(text)) or text) or None


def read_choice(text: str, choices: Choices) -> set[int]:
    """Return the positions of the options that a reply may mean: one when it is clear."""
    text = tail(text)
    whole = choices.named(text)
    if whole is not None:
        return {whole}
    for part in _conclusions(text):
        said = choices.named(part)
        found = {said} if said is not None else _leading(part, choices) or _texts_in(part, choices)
        if found:
            return found
    lines = [_leading_letter(line, choices) for line in _lines(text)]
    return (
        set().union(*lines)
        or _begins_with(text.strip().partition("\n")[0], choices, _PAUSE)
        or _letters(_BRACKETED.findall(text), choices)
        or _texts_in(text, choices)
        or _letters(_STANDALONE.findall(text), choices)
    )


def _conclusions(text: str) -> list[str]:
    boxed = re.findall(r"\\boxed\s?\{(?:\\text\s?\{)?([^}\n]*)", text)
    said = (conclusion(text) or "").strip()
    return [part for part in (*boxed[-1:], said.partition("\n")[0].strip()) if part]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.isspace()]


def _lettered(text: str) -> set[int]:
    for part in (*_conclusions(text), *_lines(text), text):
        named = LETTERS.named(part)
        found = {named} if named is not None else _leading_letter(part, LETTERS)
        if found:
            return found
    return _letters(_BRACKETED.findall(text), LETTERS)


def _leading(part: str, choices: Choices) -> set[int]:
    return _leading_letter(part, choices) or _begins_with(part, choices, re.compile(""))


def _leading_letter(line: str, choices: Choices) -> set[int]:
    line = line.strip(_MARKUP)
    match = _LEADING.match(line)
    position = choices.letter(match[match.lastgroup or 0]) if match else None
    if match is None or position is None or _UNDECIDED.match(line, match.end()):
        return set()
    other = choices.named(line[match.end() :].strip(_MARKUP + ".:)"))
    return {position} if other is None else {position, other}


def _begins_with(part: str, choices: Choices, following: re.Pattern[str]) -> set[int]:
    folded = fold(part).lstrip(_MARKUP)
    for article in ("", "a ", "an ", "the "):
        if not folded.startswith(article):
            continue
        rest = folded.removeprefix(article)
        found = [
            i
            for i, text in enumerate(choices.texts)
            if text and (match := phrase(text).match(rest)) and following.match(rest, match.end())
        ]
        if found:
            longest = max(len(choices.texts[i]) for i in found)
            return {i for i in found if len(choices.texts[i]) == longest}
    return set()


def _texts_in(part: str, choices: Choices) -> set[int]:
    folded, found = fold(part), set()
    for text in sorted({text for text in choices.texts if text}, key=len, reverse=True):
        # What a longer option takes is gone: `not the same` does not mention `same` as well.
        folded, count = phrase(text).subn("\0", folded)
        if count:
            found |= {i for i, other in enumerate(choices.texts) if other == text}
    return found


def _letters(letters: list[str], choices: Choices) -> set[int]:
    return {position for letter in letters if (position := choices.letter(letter)) is not None}
