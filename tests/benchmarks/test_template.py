"""The benchmark of template search: its session sells cells of a table, and no more than it may."""

import gzip
import math

import numpy as np
import pytest

from benchmarks import template as bench
from benchmarks.embedded.corpus import DATA
from promptopt.errors import BudgetExhausted, DataError

if not DATA.is_dir():
    pytest.skip("needs the benchmark data (PROMPTOPT_DATA)", allow_module_level=True)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return a made-up table in which the task's wording decides most."""
    prompts = bench.prompts_of(bench.space_of("negation"))
    rng = np.random.default_rng(0)
    sure = [0.2 + 0.5 * ("negation" in p.instruction) + 0.2 * ("careful" in p.instruction) for p in prompts]
    scores = rng.random((len(prompts), 12)) < np.array(sure)[:, None]
    lines = ["prompt," + ",".join(map(str, range(12))), bench.SEED_PROMPT.id + ",0" * 12]
    lines += [",".join([p.id, *(str(int(s)) for s in row)]) for p, row in zip(prompts, scores, strict=True)]
    file = tmp_path_factory.mktemp("table") / "t.csv.gz"
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    return bench.Table("negation", file)


def test_the_space_has_more_than_two_thousand_prompts_all_different(table):
    assert len(table.place) >= 2304
    assert table.scores.shape == (2305, 12)
    assert table.cells == 2304 * 12


def test_a_session_sells_each_cell_once_and_ends_with_the_budget(table):
    session = bench.TableSession(table, 30, seed=0)
    one, two, three = bench.prompts_of(bench.space_of("negation"))[:3]
    first = session.score([one], 6)[0]
    assert session.score([one], 6)[0] == first
    (whole,) = session.score([one])
    assert whole.mean == pytest.approx(table.scores[table.place[one.id]].mean())
    session.score([two])
    assert session.found == [(12, pytest.approx(whole.mean)), (24, pytest.approx(session.found[1][1]))]
    with pytest.raises(BudgetExhausted):
        session.score([three])


def test_a_run_finds_more_with_more_cells_and_the_same_with_the_same_seed(table, monkeypatch):
    monkeypatch.setattr(bench, "SHARES", (0.01, 0.03))
    options = bench.CONTENDERS["random, halving"]
    run = bench.play(table, options, 3)
    assert 0.3 < run.best_at(0.01) <= run.best_at(0.03) <= table.best
    assert max(cells for cells, _ in run.found) <= 0.03 * table.cells
    assert bench.play(table, options, 3) == run


def test_what_a_run_found_is_told_by_the_share_of_the_cells():
    run = bench.Played(((10, 0.5), (20, 0.5), (40, 0.75)), 400)
    assert [run.best_at(share) for share in (0.02, 0.025, 0.05, 0.1)] == [0.0, 0.5, 0.5, 0.75]
    assert (run.share_to(0.5), run.share_to(0.75), run.share_to(0.8)) == (0.025, 0.1, math.inf)


def test_the_contenders_are_told_side_by_side_and_paired(table, monkeypatch):
    monkeypatch.setattr(bench, "SHARES", (0.01, 0.02))
    lines = list(bench.compare(table, 2))
    assert lines[0].startswith("2,304 prompts x 12 rows (negation): best ")
    assert sum(line.startswith("| TPE, halving | ") for line in lines) == 1
    assert sum(line.startswith("| random, halving | ") for line in lines) == 2
    assert all("best in " in line for line in lines if line.startswith("| TPE"))


def test_a_table_that_is_not_there_or_of_another_space_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no such table; record it"):
        bench.Table("negation", tmp_path / "none.csv.gz")
    other = tmp_path / "t.csv.gz"
    other.write_bytes(gzip.compress(b"prompt,0\nx,1\n"))
    with pytest.raises(DataError, match="is of another space"):
        bench.Table("negation", other)
