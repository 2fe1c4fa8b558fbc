"""How MIPRO asks for instructions: one chat a set of demonstrations, grounded in the rows if wanted.

Source: Opsahl-Ong et al. 2024, "Optimizing Instructions and Demonstrations for Multi-Stage Language Model
Programs" (arXiv 2406.11695), section 3.2 and appendix B; wordings shortened for small models.
"""

from __future__ import annotations

from collections.abc import Sequence

from promptopt.contracts.searcher import Session
from promptopt.errors import ModelError, TemplateError
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Example, FrozenMap
from promptopt.template import fill, slots

from ._text import chat, copies_pair, number_word, read_instruction, show_rows

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
    session: Session,
    base: Prompt,
    meta_prompt: str,
    shown: Sequence[Sequence[Demonstration]],
    rows: Sequence[Example],
    *,
    summary: str,
    wanted: int,
    draws: int,
    temperature: float,
    max_tokens: int,
    max_chars: int,
) -> list[str]:
    """Return up to `wanted` new instructions: from each chat in turn its next one that can be read.

    Args:
        session: whose proposer is asked.
        base: the prompt to improve.
        meta_prompt: with `{{demonstrations}}`, and any of `{{number}}`, `{{summary}}`, `{{instruction}}`,
            `{{description}}` and `{{tip}}`.
        shown: one set of demonstrations a chat.
        rows: the rows behind the summary; none may be quoted by an instruction, nor any other search row.
        summary: how the proposer is asked for the summary, if the meta-prompt shows it.
        wanted: instructions besides the base's.
        draws: replies drawn to each chat.
        temperature: of the proposer.
        max_tokens: most tokens of a reply.
        max_chars: longer instructions are dropped.

    Raises:
        TemplateError: the meta-prompt shows no rows.
        ModelError: no reply holds an instruction.
    """
    where = "searcher joint"
    if "demonstrations" not in slots(meta_prompt):
        raise TemplateError(
            where, "a meta-prompt shows no rows", got=meta_prompt, do="add {{demonstrations}}"
        )
    fields = session.task.fields
    values = {
        "instruction": base.instruction,
        "description": session.task.description,
        "summary": _summary(session, summary, rows, max_tokens) if "summary" in slots(meta_prompt) else "",
    }
    chats = [
        chat(
            fill(
                meta_prompt,
                values
                | {
                    "demonstrations": show_rows([_row(one) for one in its], fields),
                    "number": number_word(len(its)),
                    "tip": TIPS[place % len(TIPS)],
                },
            )
        )
        for place, its in enumerate(shown)
    ]
    replies = session.propose(chats, draws, temperature=temperature, max_tokens=max_tokens)
    in_turn = [its[turn] for turn in range(draws) for its in replies if turn < len(its)]
    read = [text for text in (read_instruction(reply, max_chars) for reply in in_turn) if text]
    if not read:
        raise ModelError(
            where,
            f"the proposer's {len(in_turn)} replies hold no instruction",
            got=in_turn[0] if in_turn else None,
            do="try another proposer, or other max_tokens, max_chars or meta-prompt",
        )
    fresh = [t for t in read if t != base.instruction and not copies_pair(t, session.task.rows)]
    return list(dict.fromkeys(fresh))[:wanted]


def _summary(session: Session, meta_prompt: str, rows: Sequence[Example], max_tokens: int) -> str:
    text = fill(meta_prompt, {"demonstrations": show_rows(rows, session.task.fields)})
    ((*replies,),) = session.propose([chat(text)], temperature=0.0, max_tokens=max_tokens)
    return replies[0].strip() if replies else ""


def _row(shown: Demonstration) -> Example:
    return Example("", FrozenMap(shown.inputs), (shown.output,))
