"""The public call that scores prompts on a file of any length, alone or together with other processes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .api_compare import read_prompt
from .bulk import PART_CELLS, WHOLE, Bulk, BulkScoring, Shard, Totals
from .cellfiles import CellFormat, check_format
from .config import job_from_dict
from .cuts import judged_alone, look_for_cuts
from .data import Stream
from .errors import JournalError
from .events import Listener, ignore
from .job import Job
from .journal import Journal
from .partbook import FileBook, PartBook, StudyBook
from .prompt import Prompt
from .proof.cutoff import cut_notes
from .records import digest
from .runfolder import claimed
from .setup import Setup, columns_of, from_job
from .shared import ORIGIN, opened_study

JOB = "scoring.json"
"""What a folder of cells is of."""
META = "scoring"
"""The same in a study."""
EDGE = 1 << 20
"""Bytes at both ends of a file that tell whether it is the same."""


@dataclass(frozen=True)
class Scoring:
    """What came of a scoring job, or of one shard of it.

    Attributes:
        prompts: that were scored.
        totals: what their cells add up to.
        folder: where the cells are.
        reward: that judged.
        notes: what should be known of the cells.
    """

    prompts: tuple[Prompt, ...]
    totals: Totals
    folder: Path
    reward: str
    notes: tuple[str, ...] = ()


def score_file(
    job: Job,
    source: str | Path,
    folder: str | Path,
    prompts: Sequence[str | Path | Prompt] = (),
    *,
    shard: Shard = WHOLE,
    format: CellFormat = "parquet",
    part: int | None = None,
    study: str | None = None,
    listen: Listener = ignore,
) -> Scoring:
    """Score prompts (none: the job's own) on all rows of a file, however long, or go on with it.

    Args:
        job: gives target, reward and budget, and what the columns mean; its own rows are not scored.
        source: JSON lines, CSV, TSV or Parquet with the input columns that the job's rows have.
        folder: where the cells go, a file for each part; shards may share it.
        prompts: texts as a person writes them, paths of files or runs, or Prompts.
        shard: which parts to score.
        format: of the files.
        part: rows of a part; None makes parts of about 8,000 cells.
        study: URL of a PostgreSQL database; processes that score the same there and share the folder take
            whatever part nobody alive is at, and keep the budget together (minutes are each one's own).
        listen: told what happens.

    Raises:
        BadInput: something given is wrong, or the folder or study holds another job.
        BudgetExhausted: the budget ended; what was bought is kept.
        MissingExtra: pyarrow or psycopg is not installed.
        ModelError: the target cannot be used at all.
    """
    setup = from_job(job)
    seed = setup.task.seed_prompt

    def read_one(given: str | Path | Prompt) -> Prompt:
        if isinstance(given, str):
            return replace(Prompt.parse(given, setup.task.fields), program=seed.program)
        return read_prompt(str(given), given, setup)

    read = tuple(read_one(given) for given in prompts) or (seed,)
    size = part or max(1, PART_CELLS // (len(read) * setup.samples))
    described = {
        "job": json.dumps({**job.to_lock(), "study": None}),
        "source": os.path.abspath(source),
        "folder": os.path.abspath(folder),
        "prompts": [prompt.to_dict() for prompt in read],
        "format": format,
        "part": size,
    }
    return _work(job, setup, described, read, shard, study, listen)


def join_scoring(study: str, listen: Listener = ignore) -> Scoring | None:
    """Take part in the scoring job of a study; None if the study is of something else.

    The source and the folder must be where they are for the process that began it.
    """
    with opened_study(study) as journal:
        described = journal.get_meta(META)
    if described is None:
        return None
    job = job_from_dict(json.loads(described["job"]), "/", ORIGIN)
    read = tuple(Prompt.from_dict(prompt) for prompt in described["prompts"])
    return _work(job, from_job(job), described, read, WHOLE, study, listen)


def _work(
    job: Job, setup: Setup, described: dict[str, Any], prompts: tuple[Prompt, ...], shard: Shard,
    study: str | None, listen: Listener,
) -> Scoring:  # fmt: skip
    check_format(described["format"])
    source, folder = Path(described["source"]), Path(described["folder"])
    stream = Stream.open(source, columns_of(job))
    for prompt in prompts:
        prompt.template.check(stream.fields)
    bulk = Bulk(setup, prompts, stream, folder, described["part"], described["format"])
    mark = digest(
        [
            setup.fingerprint,
            [p.id for p in prompts],
            _contents(source),
            described["part"],
            described["format"],
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    _settle(folder / JOB, {**described, "mark": mark})
    with ExitStack() as stack:
        book: PartBook
        elapsed, purse = 0.0, None
        if study is None:
            name = f"{shard.index}of{shard.of}"
            stack.enter_context(claimed(folder / f".shard-{name}.lock", str(folder)))
            book = FileBook(folder / f"done-{name}.jsonl")
            elapsed = sum(part.seconds for part in book.parts)
        else:
            journal = stack.enter_context(_shared_journal(study, described, mark))
            book, purse = StudyBook(journal, mark), journal.purse(setup.budget, setup.prices)
        scoring = BulkScoring(bulk, book, shard=shard, elapsed=elapsed, purse=purse, listen=listen)
        totals = scoring.run()
    scored = [(p, totals.tallies[p.id].cutoff) for p in prompts if p.id in totals.tallies]
    notes = cut_notes(look_for_cuts(judged_alone(scored), setup.decoding))
    return Scoring(prompts, totals, folder, setup.task.reward_name, notes)


@contextmanager
def _shared_journal(study: str, described: dict[str, Any], mark: str) -> Iterator[Journal]:
    """Open a study and write down what it is of, the first one who comes; a later one may raise the budget.

    Raises:
        JournalError: it is of something else.
    """
    with opened_study(study) as journal:
        if journal.settle_meta("fingerprint", mark) != mark:
            raise JournalError(
                study,
                "was made with another job, or is a run's",
                do="name another study: add ?study=NAME to the URL",
            )
        if journal.settle_meta(META, described) != described:
            journal.set_meta(META, described)
        yield journal


def _settle(path: Path, described: dict[str, Any]) -> None:
    """Write down what a folder is of, the first one who comes; see that it is the same.

    Raises:
        JournalError: it is not.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    with suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
    there = json.loads(path.read_text(encoding="utf-8"))
    if there["mark"] != described["mark"]:
        changed = [key for key in described if key != "mark" and there[key] != described[key]]
        raise JournalError(
            str(path.parent), "holds cells of another job, other prompts or another file",
            got=", ".join(changed) or None, do="name another folder",
        )  # fmt: skip


def _contents(path: Path) -> str:
    """Digest a file's size and both its ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(EDGE)
        file.seek(max(0, size - EDGE))
        return digest([size, first.hex(), file.read(EDGE).hex()])
