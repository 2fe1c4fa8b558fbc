"""A new user's commands, as the benchmark times them, end in a verdict."""

import csv

from benchmarks import first_verdict


def test_two_commands_after_installing_lead_to_a_verdict(capsys):
    assert first_verdict.main(["--installed", "--calls", "700"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s  ")[1].split(":")[0] for line in lines] == [
        "promptopt init",
        "promptopt run",
        "to the verdict",
    ]
    assert "held-out rows" in lines[-1]


def test_the_csv_is_one_as_people_have_them(tmp_path):
    first_verdict.write_rows(tmp_path / "words.csv")
    with (tmp_path / "words.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 230
    assert all(row["word"][1] == row["answer"] for row in rows)
