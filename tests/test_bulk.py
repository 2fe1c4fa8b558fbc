"""Scoring a file of any length: parts, shards, interruptions, refusals."""

from __future__ import annotations

import csv
import json

import pytest
from bulk_job import asked, cells, make_job, run, write

from promptopt.api_bulk import score_file
from promptopt.bulk import Shard
from promptopt.cli.main import main
from promptopt.config import load_job
from promptopt.errors import BudgetExhausted, ConfigError, DataError, JournalError


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


def test_replies_cut_before_they_answer_are_told_over_all_parts(tmp_path, capsys):
    make_job(tmp_path, target={"model": "python/wordy.py:reply", "decoding": {"max_tokens": 3}})
    (tmp_path / "wordy.py").write_text(
        "from promptopt.contracts.model import Completion\n\n"
        "def reply(messages, max_tokens):\n"
        "    number = int(messages[-1]['content'].split()[-1])\n"
        "    words = ['well', 'let', 'me', 'see', 'yes' if number % 2 else 'no']\n"
        "    text = words[-1] if max_tokens > 4 else ' '.join(words[:max_tokens])\n"
        "    return Completion(text, 'stop' if max_tokens > 4 else 'length')\n"
    )
    data = write(tmp_path / "all.jsonl", 30)
    argv = ["score", str(tmp_path / "job.yaml"), "--data", str(data), "--format", "jsonl", "--part", "10"]
    assert main([*argv, "-q", "--out", str(tmp_path / "cut")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "note: target.decoding.max_tokens: seems to end replies before they have answered; got 30 of 30 "
        "answers of the prompt cut at 3 tokens, 100% of their score lost; raise it"
    ) in told
    assert main([*argv, "-q", "--out", str(tmp_path / "whole"), "--set", "target.decoding.max_tokens=5"]) == 0
    assert "note:" not in capsys.readouterr().out
