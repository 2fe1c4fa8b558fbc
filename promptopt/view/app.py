"""The pages: a list of runs, a run, a prompt and its cells, a cell, two runs side by side; and streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from ..errors import PromptOptError
from ..proof.verdict import Verdict
from ..report.charts.progress import progress_chart, second_axis
from ..report.html import MARKS, REAL_MARKS, environment, render_html, verdict_picture
from ..report.reading import read_run
from ..report.words import verdict_words
from ..runfolder import RunFolder
from .beside import beside
from .cells import cell_list, cell_page
from .live import look, stamp, stream
from .shelf import Shelf, job_words

MOST_ROWS = 500
MOST_PROMPTS = 60
SCRIPT = Path(__file__).parent / "templates" / "view.js"
EVENTS = {"content-type": "text/event-stream"}


class Pages:
    """The pages over one folder of runs."""

    def __init__(self, root: Path, token: str) -> None:
        """Serve the runs in `root`; links begin with the token."""
        self.shelf = Shelf(root)
        self.base = f"/{token}"
        self.templates = environment("promptopt.view")

    def app(self) -> Starlette:
        """Return the application."""
        run = "/run/{name}"
        return Starlette(
            routes=[
                Route("/", self.list),
                Route("/events", self.list_events),
                Route("/compare", self.compare),
                Route("/view.js", self.script),
                Route(run, self.run),
                Route(f"{run}/events", self.run_events),
                Route(f"{run}/report", self.report),
                Route(f"{run}/prompt/{{prompt}}", self.prompt),
                Route(f"{run}/cell", self.cell),
                Route(f"{run}/stop", self.stop, methods=["POST"]),
            ],
            exception_handlers={404: self.absent, PromptOptError: self.refused},
        )

    # --- the list ---------------------------------------------------------------------------------------

    async def list(self, _: Request) -> Response:
        """Show all runs."""
        return await self._page("runs.html", lambda: {"lines": self.shelf.lines(), "root": self.shelf.root})

    async def list_events(self, _: Request) -> Response:
        """Send the list anew whenever it has changed."""

        def look_at() -> tuple[object, Callable[[], str], bool]:
            lines = self.shelf.lines()
            return lines, lambda: self._render("list.html", {"lines": lines}), False

        return StreamingResponse(stream(look_at), headers=EVENTS)

    async def compare(self, request: Request) -> Response:
        """Show two runs side by side."""
        names = request.query_params.getlist("run")
        if len(names) != 2:
            return await self._page("message.html", lambda: {"text": "choose two runs to compare"}, 400)
        first, second = (self._folder(name) for name in names)

        def content() -> dict[str, Any]:
            found = beside(first, second)
            both = [row for row in found.rows if row.change != "missing"]
            differ = [row for row in both if row.change in ("fixed", "broke")]
            return {
                "found": found,
                "names": names,
                "shown": differ[:MOST_ROWS],
                "differ": differ,
                "both": both,
                "marks": MARKS if found.binary else REAL_MARKS,
                "alone": False,
            }

        return await self._page("compare.html", content)

    async def script(self, _: Request) -> Response:
        """Send the one script."""
        return Response(SCRIPT.read_text(encoding="utf-8"), media_type="text/javascript")

    # --- a run ------------------------------------------------------------------------------------------

    async def run(self, request: Request) -> Response:
        """Show a run: live while it is under way."""
        folder = self._folder(request.path_params["name"])

        def content() -> dict[str, Any]:
            target, searchers = job_words(folder)
            return {"name": folder.path.name, "target": target, "searchers": searchers, **self._now(folder)}

        return await self._page("run.html", content)

    async def run_events(self, request: Request) -> Response:
        """Send the moving part of a run's page whenever it has changed, until the run has ended."""
        folder = self._folder(request.path_params["name"])

        def look_at() -> tuple[object, Callable[[], str], bool]:
            state = folder.state
            mark = (stamp(folder.history_file), state, folder.stop_file.exists())
            return mark, lambda: self._render("now.html", self._now(folder)), state != "running"

        return StreamingResponse(stream(look_at), headers=EVENTS)

    def _now(self, folder: RunFolder) -> dict[str, Any]:
        """Return what the moving part of a run's page shows."""
        now, result = look(folder), folder.result()
        verdict = None if result is None else Verdict.from_dict(result["verdict"])
        binary = verdict is not None and verdict.test == "mcnemar"
        words = verdict_words(
            verdict, binary=binary, tried=len(now.prompts), state=now.state, folder=folder.path
        )
        labels = {known.id: known.label for known in now.prompts}
        return {
            "name": folder.path.name,
            "now": now,
            "verdict": verdict,
            "words": words,
            "picture": verdict_picture(verdict, binary),
            "calls": progress_chart(now.curves, "calls", labels=labels),
            "money": progress_chart(now.curves, second_axis(now.curves), labels=labels),
            "most": MOST_PROMPTS,
        }

    async def report(self, request: Request) -> Response:
        """Show a run's report as of now."""
        folder = self._folder(request.path_params["name"])
        text = await to_thread.run_sync(lambda: render_html(read_run(folder.path)))
        return HTMLResponse(text)

    async def prompt(self, request: Request) -> Response:
        """Show a prompt's cells on one split."""
        folder, query = self._folder(request.path_params["name"]), request.query_params
        page = int(query["page"]) if query.get("page", "").isdecimal() else 1
        found = await to_thread.run_sync(
            lambda: cell_list(folder, request.path_params["prompt"], query.get("split"), page)
        )
        if found is None:
            return await self.absent(request, None)
        return await self._page("prompt.html", lambda: {"name": folder.path.name, "found": found})

    async def cell(self, request: Request) -> Response:
        """Show one cell: its row, the very messages, the reply, the score."""
        folder, query = self._folder(request.path_params["name"]), request.query_params
        sample = int(query["sample"]) if query.get("sample", "").isdecimal() else 0
        found = await to_thread.run_sync(
            lambda: cell_page(folder, query.get("prompt", ""), query.get("row", ""), sample)
        )
        if found is None:
            return await self.absent(request, None)
        return await self._page("cell.html", lambda: {"name": folder.path.name, "found": found})

    async def stop(self, request: Request) -> Response:
        """Ask a run to stop: it waits for what is under way, keeps it, and can be resumed."""
        folder = self._folder(request.path_params["name"])
        if folder.state == "running":
            folder.stop_file.touch()
        return RedirectResponse(f"{self.base}/run/{folder.path.name}", 303)

    # --- what all need -----------------------------------------------------------------------------------

    def _folder(self, name: str) -> RunFolder:
        """Return a run by its name; only what is on the shelf has one."""
        folder = self.shelf.folders().get(name)
        if folder is None:
            raise _NoSuchRun(name)
        return folder

    def _render(self, template: str, content: Mapping[str, Any]) -> str:
        return self.templates.get_template(template).render(base=self.base, query=urlencode, **content)

    async def _page(
        self, template: str, content: Callable[[], Mapping[str, Any]], status: int = 200
    ) -> Response:
        """Render a page off the loop: reading a run may take a second."""
        return HTMLResponse(
            await to_thread.run_sync(lambda: self._render(template, content())), status_code=status
        )

    async def absent(self, _: Request, error: Exception | None) -> Response:
        """Say that there is no such page."""
        return await self._page("message.html", lambda: {"text": "there is nothing here"}, 404)

    async def refused(self, _: Request, error: Exception) -> Response:
        """Say in one line what is wrong."""
        status = 404 if isinstance(error, _NoSuchRun) else 409
        return await self._page("message.html", lambda: {"text": str(error)}, status)


class _NoSuchRun(PromptOptError):
    """A name that is not on the shelf."""

    def __init__(self, name: str) -> None:
        super().__init__("view", "no such run", got=name, do="choose one from the list")
