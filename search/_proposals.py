"""How MIPRO asks for instructions: one chat a set of demonstrations, grounded in the rows if wanted.

Source: Opsahl-Ong et al. 2024, "Optimizing Instructions and Demonstrations for Multi-Stage Language Model
Programs" (arXiv 2406.11695), section 3.2 and appendix B; wordings shortened for small models.
"""

from __future__ import annotations

from collections.abc import Sequence

from promptopt.contracts.searcher import Session
from promptopt.errors import TemplateError
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Example, FrozenMap
from promptopt.template import fill, slots

from ._author import Author
from ._text import chat, number_word, read_instruction, show_rows

SUMMARY = (
    "Here are rows of a data set, inputs and outputs:\n\n{{demonstrations}}\n\n"
    "Say in two sentences what the inputs are, and how the outputs come from them."
)
"""What is said of the data (appendix B.1, dataset summary); fills `{{summary}}`."""

GROUNDED = (
    "You write instructions for a language model.\n\nThe data: {{summary}}\n\n"
    "Some inputs and the right outputs:\n\n{{demonstrations}}\n\n"
    "The instruction now: {{instruction}}\n\nTip: {{tip}}\n\n"
    "Write a better instruction.\n\nInstruction:"
)
"""A grounded proposal (appendix B.2): data summary, demonstrations, the present instruction, a tip."""

TIPS = (
    "Be clear and concise.",
    "Be creative.",
    "Be very specific.",
    "Say what the answer must look like.",
    "Tell the model who it is, as in: You are a careful editor.",
    "Say why the answer matters.",
)
"""Tips that make proposals differ (appendix B.2), one a chat, in turns."""


def propose(
    author: Author,
    base: Prompt,
    meta_prompt: str,
    shown: Sequence[Sequence[Demonstration]],
    rows: Sequence[Example],
    *,
    summary: str,
    wanted: int,
    draws: int,
) -> list[str]:
    """Return up to `wanted` new instructions: from each chat in turn its next one that can be used.

    Args:
        author: asks the proposer, and holds back what cannot be used.
        base: the prompt to improve.
        meta_prompt: with `{{demonstrations}}`, and any of `{{number}}`, `{{summary}}`, `{{instruction}}`,
            `{{description}}` and `{{tip}}`.
        shown: one set of demonstrations a chat.
        rows: the rows behind the summary.
        summary: how the proposer is asked for the summary, if the meta-prompt shows it.
        wanted: instructions besides the base's.
        draws: replies drawn to each chat.

    Raises:
        TemplateError: the meta-prompt shows no rows.
        ModelError: no reply holds an instruction.
    """
    if "demonstrations" not in slots(meta_prompt):
        raise TemplateError(
            f"searcher {author.name}",
            "a meta-prompt shows no rows",
            got=meta_prompt,
            do="add {{demonstrations}}",
        )
    session = author.session
    fields = session.task.fields
    values = {
        "instruction": base.instruction,
        "description": session.task.description,
        "summary": _summary(session, summary, rows, author.max_tokens)
        if "summary" in slots(meta_prompt)
        else "",
    }
    texts = [
        fill(
            meta_prompt,
            values
            | {
                "demonstrations": show_rows([_row(one) for one in its], fields),
                "number": number_word(len(its)),
                "tip": TIPS[place % len(TIPS)],
            },
        )
        for place, its in enumerate(shown)
    ]
    drawn = author.draw(texts, draws, lambda reply: [read_instruction(reply, author.max_chars)])
    author.check()
    author.known.add(base)
    in_turn = [its[turn] for turn in range(draws) for its in drawn if turn < len(its)]
    fresh = [text for text in in_turn if author.child(text, [base], author.name)]
    return fresh[:wanted]


def _summary(session: Session, meta_prompt: str, rows: Sequence[Example], max_tokens: int) -> str:
    text = fill(meta_prompt, {"demonstrations": show_rows(rows, session.task.fields)})
    ((*replies,),) = session.propose([chat(text)], temperature=0.0, max_tokens=max_tokens)
    return replies[0].strip() if replies else ""


def _row(shown: Demonstration) -> Example:
    return Example("", FrozenMap(shown.inputs), (shown.output,))
