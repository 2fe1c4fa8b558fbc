"""Demonstrations that the target wrote itself: what a program replied on rows it got right.

Sources: Khattab et al. 2023, "DSPy: Compiling Declarative Language Model Calls into Self-Improving Pipelines"
(arXiv 2310.03714), section 3.3 and BootstrapFewShot; Zhang et al. 2022, "Automatic Chain of Thought Prompting
in Large Language Models" (Auto-CoT, arXiv 2210.03493), section 4.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from promptopt.contracts.searcher import Session
from promptopt.programs import ChainOfThought, Program, SelfConsistency
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Cell, Example, fold_inputs
from promptopt.tfidf import Floats, Tfidf

STARTS = 10
ROUNDS = 100
DIGITS = 9


def traces(session: Session, teacher: Prompt, rows: Sequence[Example], right: float) -> list[Demonstration]:
    """Run a prompt on rows and return what it replied where the reward is at least `right`.

    The run has scored the seed prompt on every search row, so that one costs nothing. A row answered several
    times gives its first right reply.
    """
    (evaluation,) = session.score([teacher], rows)
    kept: dict[str, str] = {}
    for cell in evaluation.cells:
        if cell.status == "ok" and cell.value >= right and (reply := worked(teacher.program, cell)):
            kept.setdefault(cell.example, reply)
    return [Demonstration(row.inputs, kept[row.id]) for row in rows if row.id in kept]


def worked(program: Program, cell: Cell) -> str:
    """Return the reply as a demonstration shows it, reasoning included.

    Reasoning and answer that were asked for apart are joined by the program's own words, as Auto-CoT lays
    them out (figure 1); of several votes the first for the answer is taken; else the last reply. A reward of
    likelihoods has no replies: the text is empty.
    """
    if not cell.trace:
        return ""
    if isinstance(program, ChainOfThought):
        reasoning, answer = (text.strip() for text in cell.trace)
        return f"{program.trigger} {reasoning} {program.answer} {answer}"
    if isinstance(program, SelfConsistency):
        return next(text for text in cell.trace if cell.output in text).strip()
    return cell.trace[-1].strip()


def diverse(
    rng: random.Random, rows: Sequence[Example], kept: Sequence[Demonstration], k: int
) -> tuple[Demonstration, ...]:
    """Return a trace of each of k clusters of the rows: that nearest to the centre of those that were right.

    Auto-CoT's two stages (section 4), with TF-IDF vectors in place of sentence embeddings, and with right
    traces in place of its rules of thumb for good ones (few steps, short questions).
    """
    by_inputs = {fold_inputs(trace.inputs): trace for trace in kept}
    chosen = []
    for cluster in clusters(rng, ["\n".join(row.inputs.values()) for row in rows], k):
        found = (by_inputs.get(fold_inputs(rows[place].inputs)) for place in cluster)
        trace = next((trace for trace in found if trace is not None), None)
        if trace is not None:
            chosen.append(trace)
    return tuple(dict.fromkeys(chosen))


def clusters(rng: random.Random, texts: Sequence[str], k: int) -> list[list[int]]:
    """Return the places of texts in at most k clusters, in each the nearest to its centre first.

    k-means on TF-IDF vectors, begun by k-means++ (Arthur and Vassilvitskii, SODA 2007); the tightest of
    several starts.
    """
    vectors = Tfidf(texts).matrix()
    starts = [_settled(vectors, _begun(rng, vectors, min(k, len(texts)))) for _ in range(STARTS)]
    distances = min(starts, key=lambda found: float(found.min(axis=1).sum().round(DIGITS)))
    nearest = distances.argmin(axis=1)
    members = [np.flatnonzero(nearest == cluster) for cluster in range(distances.shape[1])]
    return [
        its[np.argsort(distances[its, cluster], kind="stable")].tolist()
        for cluster, its in enumerate(members)
        if len(its)
    ]


def _begun(rng: random.Random, vectors: Floats, k: int) -> Floats:
    """Return centres `[up to k, terms]`: vectors, each drawn in proportion to its distance from the last."""
    centres = vectors[[rng.randrange(len(vectors))]]
    while len(centres) < k:
        far = _distances(vectors, centres).min(axis=1)
        if not far.any():
            break
        centres = np.vstack([centres, vectors[rng.choices(range(len(vectors)), far.tolist())]])
    return centres


def _settled(vectors: Floats, centres: Floats) -> Floats:
    """Move the centres until no vector changes its cluster; return distances `[vectors, clusters]`."""
    distances = _distances(vectors, centres)
    for _ in range(ROUNDS):
        nearest = distances.argmin(axis=1)
        centres = np.array([vectors[nearest == cluster].mean(axis=0) for cluster in np.unique(nearest)])
        distances = _distances(vectors, centres)
        if (distances.argmin(axis=1) == np.unique(nearest, return_inverse=True)[1]).all():
            break
    return distances


def _distances(vectors: Floats, centres: Floats) -> Floats:
    """Return squared distances `[vectors, centres]`, rounded so that every machine sees the same ties."""
    squares = (vectors**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.asarray(np.maximum(0.0, squares - 2 * vectors @ centres.T).round(DIGITS))
