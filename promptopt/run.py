"""One run from start to verdict, in a folder or in memory: a single search, or several that compete."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from .aliases import ModelChanged
from .calls import never
from .contest import Contest
from .errors import JournalError, noted_on
from .events import Listener, Notice, ignore, tell_both
from .history import History
from .journal import Journal
from .runfolder import RunFolder, claimed
from .setup import Setup
from .stages import Run
from .study import Study
from .tracking import tracked


def execute(
    setup: Setup,
    folder: RunFolder | None = None,
    *,
    listen: Listener = ignore,
    reuse: Sequence[Path] = (),
    retry_failed: bool = False,
    study: str | None = None,
) -> Study:
    """Run to the verdict; a run that was interrupted in this folder goes on where it was.

    Args:
        setup: the run's parts.
        folder: where it is kept; None keeps it in memory.
        listen: told what happens.
        reuse: folders of other runs whose answers cost nothing again.
        retry_failed: ask again what failed in an interrupted run, instead of taking the failure as given.
        study: URL of a database that keeps the journal instead of the folder; processes that run the same
            setup there share the work.

    Raises:
        BudgetExhausted: the budget ended before the verdict could be spoken.
        JournalError: the folder holds another run, or another process works on it.
        StopRequested: somebody wrote the file `stop` into the folder.
        ModelError: a model cannot be used at all.
    """
    with ExitStack() as stack:
        if folder is not None:
            stack.enter_context(folder.claimed())
            if not folder.lock_file.exists():
                folder.write_start(dict(setup.lock))
        journal = stack.enter_context(Journal(study or (folder.journal if folder else ":memory:")))
        if study is not None and folder is not None:
            _move_in(folder.journal, journal)
        _claim(journal, setup)
        if retry_failed and (again := journal.forget_failures()):
            listen(Notice(f"{again} calls that failed are tried again"))
        splits, stopped, hear = setup.task.splits, never, listen
        if folder is not None:
            stopped = folder.stop_watch()
            folder.write_rows(splits.seen)
            history = stack.enter_context(History(folder.history_file, tell=listen))
            hear = tell_both(history, listen)
        others = [
            stack.enter_context(Journal(RunFolder.existing(path).journal, read_only=True)) for path in reuse
        ]
        workdir = folder.workdir if folder else stack.enter_context(_scratch())
        hear, finish = stack.enter_context(tracked(setup, folder.path if folder else None, hear))
        try:
            found = _to_verdict(
                setup, journal, workdir, hear, others, folder.path if folder else None, stopped
            )
        except BaseException as error:
            if folder is not None:
                with noted_on(error):
                    folder.write_rows(splits.seen)
            raise
        if folder is not None:
            folder.write_rows(splits.seen)
            if study is not None:
                bring_home(journal, folder.journal)
            folder.write_study(found)
        finish(found)
        return found


def _to_verdict(
    setup: Setup,
    journal: Journal,
    workdir: Path,
    listen: Listener,
    reuse: Sequence[Journal],
    folder: Path | None,
    stopped: Callable[[], bool],
) -> Study:
    """Run; if another model answers under a name, say so and run again for that one."""
    start = Contest if setup.entrants else Run
    purse = journal.purse(setup.budget, setup.prices)
    while True:
        run = start(setup, journal, workdir, listen=listen, reuse=reuse, stopped=stopped, purse=purse)
        try:
            return run.to_verdict(folder)
        except ModelChanged as change:
            if setup.task.splits.opened:  # its rows have been seen: only a fresh process may open them again
                raise
            listen(Notice(f"{change.where}: {change.problem}; the search begins anew"))
        finally:
            run.note_time()


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a folder for a run in memory; what its prompts refer to stays until the process ends."""
    path = Path(tempfile.mkdtemp(prefix="promptopt-"))
    try:
        yield path
    finally:
        if any(path.iterdir()):
            atexit.register(shutil.rmtree, path, ignore_errors=True)
        else:
            path.rmdir()


def _move_in(file: Path, journal: Journal) -> None:
    """Go on in a fresh database with what a run has in its folder."""
    if file.exists() and journal.get_meta("fingerprint") is None:
        with Journal(file) as own:
            own.copy_to(journal)


def bring_home(journal: Journal, file: Path) -> None:
    """Copy a finished run into its folder, so that it can be listed, compared and reused as any other."""
    fresh = file.with_name(f".{file.name}")
    folder = file.parent
    for stale in (fresh, *folder.glob(f"{fresh.name}-*"), *folder.glob(f"{file.name}-*")):
        stale.unlink(missing_ok=True)
    with Journal(fresh) as own:
        journal.copy_to(own)
    fresh.replace(file)


@contextmanager
def answers_in(path: str | Path | None) -> Iterator[Journal]:
    """Open a journal outside of any run: in memory, or a file whose answers are not bought again.

    Raises:
        JournalError: the file is not a journal, is a run's, or another process works on it.
    """
    if path is None:
        with Journal() as journal:
            yield journal
        return
    file = Path(path)
    if not file.parent.is_dir():
        raise JournalError(str(path), "its folder does not exist", do="make it, or name another file")
    with ExitStack() as stack:
        stack.enter_context(claimed(file.with_name(f".{file.name}.lock"), str(path)))
        file.touch(mode=0o600)  # a new one is for its owner alone, as a run's folder is
        journal = stack.enter_context(Journal(file))
        if journal.get_meta("fingerprint") is not None:
            raise JournalError(str(path), "is the journal of a run", do="name a file of its own")
        journal.set_meta("elapsed", 0.0)
        yield journal


def _claim(journal: Journal, setup: Setup) -> None:
    """Mark a fresh journal as this run's; refuse one that is another's."""
    models = {role: asdict(model.identity) for role, model in setup.models.items()}
    marks = {"fingerprint": (setup.fingerprint, "job or other rows"), "models": (models, "model")}
    for key, (mine, other) in marks.items():
        if journal.settle_meta(key, mine) != mine:
            raise JournalError(
                journal.path,
                f"was made with another {other}",
                do="name another study: add ?study=NAME to the URL"
                if journal.shared
                else "start a new run; `--reuse` takes over the answers already bought",
            )
    # What a reader needs to find the calls behind a cell.
    journal.set_meta("decoding", asdict(setup.decoding))
    # What `compare` needs to match two runs' cells row by row; cells hold ids alone.
    journal.set_meta("task", {"reward": setup.task.reward_name, "rows": setup.task.splits.marks})
