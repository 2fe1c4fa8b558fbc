"""What an endpoint may do to a run: a row always refused, huge replies, other models behind the name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackServer, Messages, Reply, hash_reply
from remote_job import job

from promptopt.api import resume, run_job
from promptopt.config import job_from_dict
from promptopt.errors import ModelError
from promptopt.events import Notice
from promptopt.journal import Journal
from promptopt.study import Study


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(hash_reply) as its:
        yield its


def run(server: LoopbackServer, folder: Path, **changes: Any) -> tuple[Study, list[str]]:
    """Run a job; return its study and what was noticed."""
    notices: list[str] = []
    made = job(server.url, rows=folder / "rows.jsonl", **changes)

    def listen(event: object) -> None:
        if isinstance(event, Notice):
            notices.append(event.text)

    return run_job(job_from_dict(made), folder=folder / "run", listen=listen), notices


def target(server: LoopbackServer, **options: Any) -> dict[str, Any]:
    return {"model": "openai/loopback", "base_url": server.url, "concurrency": 8, "backoff": 0.001, **options}


def asks(messages: Messages) -> str:
    """Return the row that is asked about."""
    return str(messages[-1]["content"].rsplit("Is ", 1)[-1].split(" ", 1)[0])


def test_a_row_that_is_always_refused_is_a_failed_cell_of_every_prompt(
    server: LoopbackServer, tmp_path: Path
) -> None:
    def reply(messages: Messages, body: dict[str, Any]) -> str | Reply:
        return Reply("broken", 500) if asks(messages) == "7" else hash_reply(messages, body)

    server.reply = reply
    study, notices = run(server, tmp_path, target=target(server, max_attempts=2))
    assert study.stopped == "finished"
    cells = [
        cell
        for candidate in study.candidates
        for its in (candidate.search, candidate.select, candidate.test)
        for cell in (its.cells if its else ())
    ]
    failed = {cell.example for cell in cells if cell.status == "failed"}
    assert failed == {"7"}
    assert all(cell.status == "failed" and cell.score is None for cell in cells if cell.example == "7")
    assert sum("HTTP 500: broken" in text for text in notices) == 1


def test_a_reply_of_a_megabyte_is_kept_whole_and_judged(server: LoopbackServer, tmp_path: Path) -> None:
    long = "word " * 200_000

    def reply(messages: Messages, body: dict[str, Any]) -> str:
        return long if asks(messages) == "7" else hash_reply(messages, body)

    server.reply = reply
    study, _ = run(server, tmp_path, search="seed_only", proposer=target(server))
    assert study.stopped == "finished"
    journal = Journal(tmp_path / "run" / "journal.sqlite", read_only=True)
    seed = study.seed_prompt.id
    kept = [c for s in ("search", "select", "test") for c in journal.cells(seed, s, "exact_match")]
    journal.close()
    assert [cell.output for cell in kept if cell.example == "7"] == [long]
    assert len((tmp_path / "run" / "result.json").read_text()) < 100_000


class Names:
    """Replies under changing names, from a number of calls on."""

    def __init__(self, server: LoopbackServer, names: dict[int, str]) -> None:
        self.server, self.names = server, names

    def __call__(self, messages: Messages, body: dict[str, Any]) -> Reply:
        name = [name for since, name in self.names.items() if self.server.calls > since][-1]
        text = hash_reply([*messages, {"role": "user", "content": name}], body)
        return Reply(text, model=name)


def test_another_model_behind_the_name_is_told_and_answers_anew(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.reply = Names(server, {0: "loopback-2"})
    (tmp_path / "alone").mkdir()
    whole, notices = run(server, tmp_path / "alone")
    assert [text for text in notices if "answers" in text] == []
    alone = server.calls
    server.seen.clear()
    server.reply = Names(server, {0: "loopback-1", 100: "loopback-2"})
    (tmp_path / "both").mkdir()
    study, notices = run(server, tmp_path / "both")
    assert [text for text in notices if "answers" in text] == [
        f"loopback at {server.url}: now 'loopback-2' answers, no longer 'loopback-1', "
        "whose answers do not count for it; the search begins anew"
    ]
    assert study.verdict == whole.verdict
    assert study.best == whole.best
    assert server.calls >= alone + 100
    # Nothing is lost from the bill: what was under way at the change counts as lost.
    assert server.calls <= study.total.calls <= server.calls + 8
    before = server.calls
    again = resume(tmp_path / "both" / "run")
    assert server.calls == before
    assert again.verdict == whole.verdict
    assert again.total.calls == study.total.calls


def test_a_model_that_changes_while_the_verdict_is_spoken_needs_a_fresh_process(
    server: LoopbackServer, tmp_path: Path
) -> None:
    (tmp_path / "alone").mkdir()
    server.reply = Names(server, {0: "loopback-2"})
    whole, _ = run(server, tmp_path / "alone")
    alone = server.calls
    server.seen.clear()
    server.reply = Names(server, {0: "loopback-1", alone - 25: "loopback-2"})
    (tmp_path / "both").mkdir()
    with pytest.raises(ModelError, match=r"now 'loopback-2' answers.*promptopt resume") as caught:
        run(server, tmp_path / "both")
    assert caught.value.exit_code == 3
    study = resume(tmp_path / "both" / "run")
    assert study.verdict == whole.verdict
    assert server.calls <= study.total.calls <= server.calls + 8


def test_a_change_of_the_model_never_passes_the_budget(server: LoopbackServer, tmp_path: Path) -> None:
    server.reply = Names(server, {0: "loopback-1", 150: "loopback-2"})
    study, _ = run(server, tmp_path, budget={"calls": 400})
    assert server.calls <= study.total.calls <= 400


def test_several_models_behind_one_name_stop_the_run(server: LoopbackServer, tmp_path: Path) -> None:
    def reply(messages: Messages, body: dict[str, Any]) -> Reply:
        return Reply(hash_reply(messages, body), model=f"loopback-{server.calls // 30 % 2}")

    server.reply = reply
    with pytest.raises(ModelError, match=r"several models answer under this name.*name one of them"):
        run(server, tmp_path)


def test_answers_of_the_model_before_are_not_taken_over(server: LoopbackServer, tmp_path: Path) -> None:
    server.reply = Names(server, {0: "loopback-1"})
    run(server, tmp_path)
    old = server.calls
    server.reply = Names(server, {0: "loopback-2"})
    search = {"name": "ape", "num_subsamples": 3, "num_prompts_per_subsample": 5, "rounds": 1, "keep": 3}
    made = job_from_dict(job(server.url, rows=tmp_path / "rows.jsonl", search=search))
    study = run_job(made, folder=tmp_path / "next", reuse=[tmp_path / "run"])
    bought = server.calls - old
    whole = run_job(made, folder=tmp_path / "whole")
    assert study.verdict == whole.verdict
    assert bought >= server.calls - old - bought
