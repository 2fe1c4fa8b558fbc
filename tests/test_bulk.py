"""Scoring a file of any length: parts, shards, interruptions, refusals, what several processes share."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackServer, Reply
from postgres import server

from promptopt.api_bulk import join_scoring, score_file
from promptopt.bulk import Shard
from promptopt.cli.main import main
from promptopt.config import load_job
from promptopt.errors import BudgetExhausted, ConfigError, DataError, JournalError
from promptopt.journal import Journal

MODEL = """
import os
from pathlib import Path

def reply(messages):
    log = Path(__file__).with_name("calls.log")
    with log.open("a") as file:
        file.write(messages[-1]["content"].replace("\\n", " ") + "\\n")
    number = int(messages[-1]["content"].split()[-1])
    if os.environ.get("FAIL_AT") == str(number):
        raise KeyboardInterrupt
    return "yes" if number % 2 else "no"
"""
LEASE = 3
CONCURRENCY = 4


def write(path: Path, many: int, wrong: int = 0) -> Path:
    rows = (
        {"id": f"r{i}", "number": str(i), "output": "yes" if (i % 2) != (i < wrong) else "no"}
        for i in range(many)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_job(tmp_path: Path, **changes: Any) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    write(tmp_path / "rows.jsonl", 60)
    job = {
        "data": "rows.jsonl", "prompt": "Is it odd? {{number}}", "target": "python/model.py:reply",
        "reward": "exact_match", "search": "seed_only", **changes,
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    return tmp_path / "job.yaml"


def asked(tmp_path: Path) -> Counter[str]:
    log = tmp_path / "calls.log"
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def cells(folder: Path) -> list[dict[str, Any]]:
    """Return all cells of JSON-lines parts, by row."""
    lines = [line for path in sorted(folder.glob("part-*.jsonl")) for line in path.read_text().splitlines()]
    return sorted(map(json.loads, lines), key=lambda cell: (cell["row"], cell["prompt"]))


def run(tmp_path: Path, **options: Any) -> Any:
    given = {"format": "jsonl", "part": 10, "folder": tmp_path / "out", **options}
    return score_file(load_job(tmp_path / "job.yaml"), tmp_path / "all.jsonl", **given)


def test_every_row_has_its_cell_and_the_sums_are_those_of_all(tmp_path):
    make_job(tmp_path)
    write(tmp_path / "all.jsonl", 97, wrong=20)
    found = run(tmp_path, prompts=["Odd: {{number}}", "Is {{number}}"])
    totals = found.totals
    assert (totals.rows, totals.parts, totals.calls) == (97, 10, 194)
    table = cells(found.folder)
    assert [(cell["row"], cell["example"]) for cell in table[::2]] == [(i, f"r{i}") for i in range(97)]
    for prompt in found.prompts:
        values = [cell["value"] for cell in table if cell["prompt"] == prompt.id]
        tally = totals.tallies[prompt.id]
        assert (tally.rows, tally.mean, tally.failed) == (97, pytest.approx(sum(values) / 97), 0)
        low, high = tally.interval()
        assert tally.mean == pytest.approx(77 / 97)
        assert low < tally.mean < high
    left = {path.name for path in found.folder.iterdir() if path.name.startswith(".part")}
    assert left == set()  # journals of finished parts are gone


JUDGE = """
def judge(text):
    output = text.split("OUTPUT TO BE GRADED", 1)[1].split("<<<END", 1)[0]
    right = text.split("REFERENCE ANSWER", 1)[1].split("<<<END", 1)[0]
    if "SYSTEM" in output:
        return "5"
    return "5" if output.split()[1:] == right.split()[1:] else "1"
"""


def test_a_judge_is_asked_billed_capped_and_watched_in_every_part(tmp_path, capsys):
    make_job(
        tmp_path,
        reward={"name": "judge", "criteria": "It is right."},
        judge={"model": "python/judge.py:judge", "price": {"input": 1, "output": 1}},
    )
    (tmp_path / "judge.py").write_text(JUDGE)
    write(tmp_path / "all.jsonl", 30, wrong=6)
    notices = []
    totals = run(tmp_path, listen=lambda event: notices.append(getattr(event, "text", ""))).totals
    assert sum(text.startswith("judge check") for text in notices) == 1
    (tally,) = totals.tallies.values()
    assert (tally.rows, tally.mean, tally.failed) == (30, pytest.approx(24 / 30), 0)
    parts = [json.loads(line) for line in (tmp_path / "out" / "done-1of1.jsonl").read_text().splitlines()]
    assert [part["bill"]["target"][0] for part in parts] == [10] * 3
    assert totals.calls == 30 + sum(part["bill"]["judge"][0] for part in parts)
    assert totals.judge_check.pairs == 3 * 5  # a round a part
    assert totals.judge_check.kinds == ("system message",)
    again = run(tmp_path).totals
    assert (again.calls, again.judge_check) == (totals.calls, totals.judge_check)
    args = ["score", str(tmp_path / "job.yaml"), "--data", str(tmp_path / "all.jsonl"), "-q"]
    assert main([*args, "--out", str(tmp_path / "more"), "--part", "10", "--format", "jsonl"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "note: judge check: the scores rest on a judge that can be talked into them: 3 of 15" in said
    make_job(
        tmp_path,
        reward={"name": "judge", "criteria": "It is right."},
        judge="python/judge.py:judge",
        budget={"calls": totals.calls - 1},
    )
    with pytest.raises(BudgetExhausted):
        score_file(load_job(tmp_path / "job.yaml"), tmp_path / "all.jsonl", tmp_path / "capped", part=10)


def test_a_finished_job_is_not_done_again(tmp_path):
    make_job(tmp_path)
    write(tmp_path / "all.jsonl", 25)
    first = run(tmp_path)
    before = asked(tmp_path)
    assert run(tmp_path).totals == first.totals
    assert asked(tmp_path) == before


def test_an_interrupted_job_goes_on_in_the_middle_of_a_part(tmp_path, monkeypatch):
    make_job(tmp_path)
    write(tmp_path / "all.jsonl", 50)
    monkeypatch.setenv("FAIL_AT", "27")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert len(list((tmp_path / "out").glob("part-*"))) == 2
    monkeypatch.delenv("FAIL_AT")
    totals = run(tmp_path).totals
    assert (totals.rows, totals.parts) == (50, 5)
    again = {text: n for text, n in asked(tmp_path).items() if n > 1}
    assert again == {"Is it odd? 27": 2}
    assert [cell["row"] for cell in cells(tmp_path / "out")] == list(range(50))


@pytest.mark.parametrize("cut", [1, 40])
def test_a_list_of_parts_that_a_kill_cut_off_costs_nothing_but_reading(tmp_path, cut):
    make_job(tmp_path)
    write(tmp_path / "all.jsonl", 30)
    whole = run(tmp_path).totals
    done = tmp_path / "out" / "done-1of1.jsonl"
    done.write_bytes(done.read_bytes()[:-cut])
    again = run(tmp_path).totals
    assert again.tallies == whole.tallies
    assert len(cells(tmp_path / "out")) == 30


def test_shards_share_a_folder_and_make_the_whole_of_it(tmp_path):
    make_job(tmp_path)
    write(tmp_path / "all.jsonl", 65)
    totals = [run(tmp_path, shard=Shard.parse(f"{i}/3")).totals for i in (1, 2, 3)]
    assert sum(each.rows for each in totals) == 65
    assert [each.parts for each in totals] == [3, 2, 2]
    assert [cell["row"] for cell in cells(tmp_path / "out")] == list(range(65))
    assert set(asked(tmp_path).values()) == {1}


@pytest.mark.parametrize("text", ["0/3", "4/3", "x", "1/", "1/0", "-1/2"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--shard: no shard"):
        Shard.parse(text)


def test_a_budget_ends_a_job_and_a_larger_one_goes_on(tmp_path):
    make_job(tmp_path, budget={"calls": 35})
    write(tmp_path / "all.jsonl", 50)
    with pytest.raises(BudgetExhausted):
        run(tmp_path)
    assert sum(asked(tmp_path).values()) == 35
    make_job(tmp_path, budget={"calls": 49})
    with pytest.raises(BudgetExhausted):
        run(tmp_path)
    make_job(tmp_path, budget={"calls": 50})
    assert run(tmp_path).totals.calls == 50
    assert set(asked(tmp_path).values()) == {1}


def test_another_job_in_the_same_folder_is_refused(tmp_path):
    make_job(tmp_path)
    write(tmp_path / "all.jsonl", 20)
    run(tmp_path)
    for changes in ({"prompts": ["Other {{number}}"]}, {"part": 5}, {"format": "csv"}):
        with pytest.raises(
            JournalError, match=f"another file; got '{next(iter(changes))}'; name another folder"
        ):
            run(tmp_path, **changes)
    write(tmp_path / "all.jsonl", 21)
    with pytest.raises(JournalError, match="holds cells of another job, other prompts or another file"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('{"number": "1", "output": "yes"}\n{"number": "2"}\n', "line 2: no column 'output'"),
        ('{"number": "1", "output": "yes"}\n{"number": \n', "line 2: broken JSON"),
        (
            '{"id": "a", "number": "1", "output": "yes"}\n{"id": "a", "number": "2", "output": "no"}\n',
            "is taken by",
        ),
        ('{"word": "1", "output": "yes"}\n', "number"),
        ("", "the file is empty"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_one_line(tmp_path, rows, message, capsys):
    make_job(tmp_path)
    (tmp_path / "all.jsonl").write_text(rows)
    words = ["score", tmp_path / "job.yaml", "--data", tmp_path / "all.jsonl", "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_a_json_list_is_not_read_in_pieces(tmp_path):
    make_job(tmp_path)
    (tmp_path / "all.json").write_text("[]")
    with pytest.raises(DataError, match=r"cannot be read in pieces; save it as \.jsonl"):
        score_file(load_job(tmp_path / "job.yaml"), tmp_path / "all.json", tmp_path / "out")


@pytest.mark.parametrize("source", ["csv", "tsv", "parquet"])
def test_all_formats_go_in_and_come_out(tmp_path, source, capsys):
    import pyarrow
    import pyarrow.parquet

    make_job(tmp_path)
    rows = [{"number": str(i), "output": "yes" if i % 2 else "no"} for i in range(30)]
    path = tmp_path / f"all.{source}"
    if source == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["number", "output"], delimiter="," if source == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    tables = {}
    for format in ("parquet", "jsonl", "csv"):
        out = tmp_path / format
        words = [
            "score",
            tmp_path / "job.yaml",
            "--data",
            path,
            "--out",
            out,
            "--format",
            format,
            "--part",
            12,
            "-q",
        ]
        assert main([str(word) for word in words]) == 0
        assert "exact_match on 30 rows, 30 calls" in capsys.readouterr().out
        assert len(list(out.glob(f"part-*.{format}"))) == 3
        parts = sorted(out.glob("part-*"))
        if format == "parquet":
            tables[format] = [row for part in parts for row in pyarrow.parquet.read_table(part).to_pylist()]
        elif format == "jsonl":
            tables[format] = cells(out)
        else:
            tables[format] = [row for part in parts for row in csv.DictReader(part.read_text().splitlines())]
    assert tables["parquet"] == tables["jsonl"]
    assert [row["row"] for row in tables["parquet"]] == list(range(30))
    assert [{key: str(value) for key, value in row.items()} for row in tables["jsonl"]] == tables["csv"]


def test_failed_and_unparsed_cells_are_told_apart(tmp_path):
    make_job(tmp_path, target="python/bad.py:reply", reward={"name": "multiple_choice"})
    (tmp_path / "bad.py").write_text("def reply(messages):\n    return {'1': 1 / 0}['1']\n")
    rows = [{"number": str(i), "output": "yes", "options": ["yes", "no"]} for i in range(30)]
    for name in ("all.jsonl", "rows.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run(tmp_path)
    (tally,) = found.totals.tallies.values()
    assert (tally.rows, tally.failed) == (0, 30)
    assert {cell["status"] for cell in cells(found.folder)} == {"failed"}
    assert all(
        cell["value"] is None and "ZeroDivisionError" in cell["reason"] for cell in cells(found.folder)
    )


def test_options_that_need_a_file_are_refused_without_one(tmp_path, capsys):
    make_job(tmp_path)
    assert main(["score", str(tmp_path / "job.yaml"), "--shard", "1/2"]) == 2
    assert main(["score", str(tmp_path / "job.yaml"), "--data", "x.jsonl"]) == 2
    err = capsys.readouterr().err
    assert "--shard, --part and --study go with --data" in err
    assert "--data and --out go together" in err


# --- several processes -------------------------------------------------------------------------------


def test_a_study_is_of_one_job_and_a_later_process_may_raise_its_budget(tmp_path):
    pytest.importorskip("psycopg")
    make_job(tmp_path)
    write(tmp_path / "all.jsonl", 25)
    with server() as database:
        first = run(tmp_path, study=database)
        assert run(tmp_path, study=database).totals == first.totals
        joined = join_scoring(database)
        assert joined is not None
        assert joined.totals == first.totals
        assert set(asked(tmp_path).values()) == {1}
        other = {"study": f"{database}?study=other", "folder": tmp_path / "other"}
        make_job(tmp_path, budget={"calls": 14})
        for _ in range(2):
            with pytest.raises(BudgetExhausted, match="14 calls"):
                run(tmp_path, **other)
        assert sum(asked(tmp_path).values()) == 25 + 14
        make_job(tmp_path, budget={"calls": 25})
        assert run(tmp_path, **other).totals.tallies == first.totals.tallies
        assert join_scoring(other["study"]).totals.tallies == first.totals.tallies
        assert sum(asked(tmp_path).values()) == 50
        make_job(tmp_path, seed=5)
        with pytest.raises(JournalError):
            run(tmp_path, study=database)
        assert join_scoring(f"{database}?study=empty") is None


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "promptopt.cli", *map(str, words), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_four_workers_share_a_file_and_one_is_killed(tmp_path, record_property):
    pytest.importorskip("psycopg")
    many = 600

    def reply(messages, body):
        number = int(messages[-1]["content"].split()[-1])
        return Reply("yes" if number % 2 else "no", delay=0.05)

    with LoopbackServer(reply) as target, server() as database:
        options = {"base_url": target.url, "concurrency": CONCURRENCY}
        config = make_job(tmp_path, target={"model": "openai/m", **options})
        write(tmp_path / "all.jsonl", many, wrong=50)
        study = f"{database}?study=bulk&lease={LEASE}"
        words = (
            "--data",
            tmp_path / "all.jsonl",
            "--out",
            tmp_path / "out",
            "--format",
            "jsonl",
            "--part",
            20,
        )
        workers = [start("score", config, *words, "--study", study)]
        journal = Journal(study)
        while journal.get_meta("scoring") is None:
            assert workers[0].poll() is None, workers[0].communicate()
            time.sleep(0.02)
        workers += [start("worker", "--study", study) for _ in range(3)]
        killed = kill_one_at_work(journal, workers, after=6)
        outs = [process.communicate(timeout=300) for process in workers if process is not killed]
        assert all(process.returncode == 0 for process in workers if process is not killed), outs
        lines = {out.strip().splitlines()[-1].split(",")[0] for out, _ in outs}
        assert lines == {f"exact_match on {many} rows"}
        assert journal.count("calls") == many // 20  # every part once
        journal.close()
        texts = Counter(seen.body["messages"][0]["content"] for seen in target.seen)
    table = cells(tmp_path / "out")
    assert [cell["row"] for cell in table] == list(range(many))
    assert [cell["value"] for cell in table] == [float(i >= 50) for i in range(many)]
    again = sum(texts.values()) - len(texts)
    assert len(texts) == many
    assert again <= CONCURRENCY  # what the killed one had sent and not heard of
    record_property("figures", f"{many} cells, {again} asked twice")


CAPS = {
    "calls": {"calls": 400},
    "tokens": {"tokens": 3000},
    "usd": {"usd": 0.003},
}
"""Of a job that needs 600 calls, 750 with those that fail; a call takes 8 tokens, a dollar is a million."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cap", CAPS)
def test_a_cap_that_workers_share_is_never_passed_though_a_fifth_of_all_attempts_fails(
    tmp_path, cap, record_property
):
    pytest.importorskip("psycopg")
    chance, answered = random.Random(cap), []

    def reply(messages, body):
        if chance.random() < 0.2:
            return Reply("out of order", status=500, delay=0.005)
        answered.append(8)
        return Reply("yes", delay=0.005, usage={"prompt_tokens": 7, "completion_tokens": 1})

    with LoopbackServer(reply) as target, server() as database:
        options = {"base_url": target.url, "concurrency": CONCURRENCY, "backoff": 0.01}
        config = make_job(
            tmp_path,
            target={
                "model": "openai/m",
                "price": {"input": 1, "output": 1},
                "decoding": {"max_tokens": 2},
                **options,
            },
            budget=CAPS[cap],
        )
        write(tmp_path / "all.jsonl", 600)
        study = f"{database}?study=cap"
        words = ("--data", tmp_path / "all.jsonl", "--out", tmp_path / "out", "--format", "jsonl")
        workers = [start("score", config, *words, "--part", 20, "--study", study)]
        journal = Journal(study)
        while journal.get_meta("scoring") is None:
            assert workers[0].poll() is None, workers[0].communicate()
            time.sleep(0.02)
        workers += [start("worker", "--study", study) for _ in range(2)]
        outs = [process.communicate(timeout=200) for process in workers]
        journal.close()
    assert [process.returncode for process in workers] == [4] * 3, outs
    tokens = sum(answered)
    spent = {"calls": target.calls, "tokens": tokens, "usd": tokens / 1e6}[cap]
    most = CAPS[cap][cap]
    assert 0.95 * most < spent <= most
    assert 0.1 < 1 - len(answered) / target.calls < 0.3
    record_property("figures", f"{cap}: {spent:g} of {most:g} spent in {target.calls} attempts")


def kill_one_at_work(
    journal: Journal, workers: list[subprocess.Popen[str]], after: int
) -> subprocess.Popen[str]:
    """Kill a process that is at a part, once some parts are finished; return it."""
    at_work = "SELECT pid FROM work JOIN workers ON workers.id = work.worker"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        busy = {pid for (pid,) in journal._store.query(at_work)}
        found = next((process for process in workers if process.pid in busy), None)
        if journal.count("calls") >= after and len(busy) > 1 and found is not None:
            time.sleep(0.1)  # into the middle of it
            os.kill(found.pid, signal.SIGKILL)
            found.communicate()
            return found
        assert all(process.poll() in (None, 0) for process in workers)
        time.sleep(0.01)
    pytest.fail("nobody was ever at work")
