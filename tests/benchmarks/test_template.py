"""The benchmark of template search: its session sells cells of a table, and no more than it may."""

import gzip

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
    sure = [0.2 + 0.5 * ("not so" in p.instruction) + 0.2 * ("clerk" in p.instruction) for p in prompts]
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
    few, many = bench.play(table, options, 3)
    assert 0.3 < few <= many <= table.best
    assert bench.play(table, options, 3) == [few, many]


def test_a_table_that_is_not_there_or_of_another_space_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no such table; record it"):
        bench.Table("negation", tmp_path / "none.csv.gz")
    other = tmp_path / "t.csv.gz"
    other.write_bytes(gzip.compress(b"prompt,0\nx,1\n"))
    with pytest.raises(DataError, match="is of another space"):
        bench.Table("negation", other)
