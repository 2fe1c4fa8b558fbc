"""Write a report in any of its formats, and after a run by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from ..events import Listener, Notice, ignore
from ..run import execute
from ..runfolder import RunFolder, write_whole
from ..setup import Setup
from ..study import Study
from .summary import Summary

Format = Literal["html", "md", "json", "junit", "csv"]


def _renderer(name: Format) -> Callable[[Summary], str]:
    """Return what renders a format; each loads only what it needs."""
    match name:
        case "html":
            from .html import render_html as render
        case "md":
            from .markdown import render_markdown as render
        case "json":
            from .data import render_json as render
        case "junit":
            from .junit import render_junit as render
        case "csv":
            from .tables import render_csv as render
    return render


def render(summary: Summary, format: Format) -> str:
    """Return a run's report."""
    return _renderer(format)(summary)


def execute_and_report(
    setup: Setup,
    folder: RunFolder | None = None,
    *,
    listen: Listener = ignore,
    reuse: Sequence[Path] = (),
    retry_failed: bool = False,
    study: str | None = None,
) -> Study:
    """Run to the verdict as `run.execute` does, and leave the report in the run's folder."""
    found = execute(setup, folder, listen=listen, reuse=reuse, retry_failed=retry_failed, study=study)
    return leave_report(found, listen)


def leave_report(study: Study, listen: Listener) -> Study:
    """Write the report of a run that is kept in a folder; what goes wrong is told, and costs no result."""
    if study.folder is not None:
        try:
            write_report(study.folder)
        except Exception as error:  # the study is worth more than its picture
            listen(Notice(f"the report could not be written: {error}; `promptopt report` tries again"))
    return study


def write_report(folder: str | Path) -> Path:
    """Write `report.html` into a run's folder, and return its path.

    Raises:
        DataError: there is no run.
    """
    from .reading import read_run

    place = RunFolder.existing(folder)
    write_whole(place.report_file, render(read_run(place.path), "html"))
    return place.report_file
