"""The benchmark of selectors measures what it says."""

import gzip

import numpy as np
import pytest

from benchmarks.selection.contenders import (
    MAIN,
    SELECTORS,
    CapoRace,
    WithoutCopies,
    ape_subset,
    chooser,
    curves,
    rivals,
)
from benchmarks.selection.null import SEARCHERS, claims, equal_prompts, final
from benchmarks.selection.pools import POOLS, FastScorer, read_table, table_pool
from benchmarks.selection.regret import measure
from benchmarks.selection.same import check_same
from promptopt.errors import DataError
from promptopt.selection.full import FullGrid
from promptopt.selection.race import PairedRace
from promptopt.selection.table import select_from_table

POOL = {pool.name: pool for pool in POOLS}


@pytest.mark.parametrize("name", MAIN)
def test_the_fast_scorer_answers_as_the_real_one(name):
    table = POOL["spread logit"].drawn(1, 16, 80, 0)[0].table.copy()
    table[np.random.default_rng(0).random(table.shape) < 0.03] = np.nan
    fast = FastScorer(table)
    assert (SELECTORS[name].select(fast, 16, 80, 2), fast.cells) == select_from_table(
        SELECTORS[name], table, 2
    )


@pytest.mark.parametrize(
    ("name", "mean", "spread"),
    [("hard beta", 0.85, 0.08), ("hard logit", 0.85, 0.056), ("hard graded", 0.85, 0.056),
     ("close logit", 0.85, 0.032), ("spread beta", 0.5, 0.22), ("spread logit", 0.345, 0.127)],
)  # fmt: skip
def test_pools_are_what_their_names_say_and_tables_agree_with_the_truth(name, mean, spread):
    drawn = POOL[name].drawn(20, 64, 400, 1)
    assert np.mean([pool.true.mean() for pool in drawn]) == pytest.approx(mean, abs=0.015)
    assert np.mean([pool.true.std() for pool in drawn]) == pytest.approx(spread, abs=0.012)
    assert np.mean([pool.means - pool.true for pool in drawn]) == pytest.approx(0, abs=0.02)


def test_regret_of_a_known_choice():
    pool = POOL["hard beta"].drawn(5, 8, 50, 0)

    def third(table, rng):
        return 2, 100, 0.5

    found = measure(third, pool, 0)
    assert found.share == pytest.approx(100 / 400)
    assert found.short == pytest.approx(np.mean([100 * (p.means.max() - p.means[2]) for p in pool]))
    assert found.bias == pytest.approx(np.mean([100 * (0.5 - p.true[2]) for p in pool]))
    assert measure(chooser(FullGrid()), pool, 0).close == 1


def test_the_default_beats_unpaired_subsets_for_the_same_cells():
    pool = POOL["hard logit"].drawn(30, 64, 500, 3)
    race = measure(chooser(PairedRace()), pool, 0)
    ape = measure(ape_subset(race.share), pool, 0)
    assert race.share < 1 / 6
    assert race.close >= 0.85 > ape.close + 0.15
    assert race.bias + 1 < ape.bias


def test_rivals_find_what_is_plain_to_see_for_the_cells_they_say():
    table = np.repeat(np.linspace(0.1, 0.9, 12)[:, None], 90, axis=1)
    table = (np.random.default_rng(0).random(90) < table).astype(float)  # one luck for all: a perfect ranking
    for name, choose in rivals(0.2).items():
        winner, cells, mean = choose(table, np.random.default_rng(0))
        assert mean >= 0.8, name
        assert cells <= 12 * 90 / 2
        assert winner == 11 or "APE" in name
    assert CapoRace(alpha=1e-9).select(FastScorer(table), 12, 90, 1) == [11]


def test_each_kind_buys_more_along_its_curve():
    pool = POOL["hard logit"].drawn(3, 64, 500, 0)
    for name, points in curves().items():
        shares = [measure(choose, pool, 0).share for choose in points]
        assert shares == sorted(shares), name
        assert shares[-1] > 1.2 * shares[0], name


def test_copies_are_dropped_only_once_enough_rows_are_met():
    table = np.zeros((20, 500))
    table[:12, :400] = 1  # twelve alike on every row
    race, without = FastScorer(table), FastScorer(table)
    assert PairedRace().select(race, 20, 500, 1) == WithoutCopies().select(without, 20, 500, 1) == [0]
    assert without.cells < 0.7 * race.cells
    assert sum(without.met[:12] > 91) >= 11  # the cap alone may drop one before
    table[0, 80:] = 0  # no copy any more: worse than the others, seen late
    assert WithoutCopies().select(FastScorer(table), 20, 500, 1) == [1]


def test_claims_are_counted_and_seed_prompts_stay_on_ties():
    assert final(np.ones((4, 10)), [2, 3]) == 0
    select = np.zeros((4, 10))
    select[3, 0] = 1.0
    assert final(select, [2, 3]) == 3
    table = equal_prompts(np.random.default_rng(0))
    assert table.mean(axis=1).std() < 0.05
    found = claims(SEARCHERS["race (adjusted .2, share .12)"], 25, 0)
    assert found.finals <= 0.12
    assert claims(FullGrid(), 25, 0).untested > 0.04


def test_a_choice_that_depends_on_the_order_of_answers_is_seen():
    class Moody(FullGrid):
        calls = 0

        def select(self, score, candidates, rows, k):
            type(self).calls += 1
            return super().select(score, candidates, rows, candidates)[type(self).calls % 2 :][:k]

    assert check_same(PairedRace(), 0)
    assert not check_same(Moody(), 0)


def test_recorded_tables_are_read_back(tmp_path):
    record_tables = pytest.importorskip("benchmarks.record_tables")
    from promptopt.contracts.model import Completion
    from promptopt.prompt import Prompt
    from promptopt.records import Example, FrozenMap
    from promptopt.testing.model import FakeModel

    def reply(request):
        text = request.messages[-1].content
        word = text.rsplit("Input: ", 1)[1].split("\n")[0]
        return word.upper() if "capitals" in text else word

    rows = [Example(str(i), FrozenMap(input=word), (word.upper(),)) for i, word in enumerate(["a", "b", "C"])]
    found = record_tables.record(
        FakeModel(reply), [Prompt("Write capitals."), Prompt("Write.")], rows, ":memory:"
    )
    path = tmp_path / "capitals.csv.gz"
    path.write_bytes(record_tables.packed(found))
    assert read_table(path).tolist() == [[1, 1, 1], [0, 0, 1]]
    drawn = table_pool(path).drawn(3, 5, 20, 0)[0]
    assert drawn.table.shape == (5, 20)
    assert set(np.round(drawn.true, 3)) <= {1.0, 0.333}
    copies = tmp_path / "copies.csv.gz"
    copies.write_bytes(gzip.compress(b"prompt,0,1\na,1,1\nb,1,1\nc,0,1\n"))
    assert [table_pool(copies, near).drawn(1, 3, 9, 0)[0].near for near in (None, 2, 1)] == [2, 2, 1]
    assert sorted(table_pool(copies, 1).drawn(1, 3, 9, 0)[0].true) == [0.5, 1]
    assert Completion
    path.write_bytes(b"\x1f\x8b")
    with pytest.raises((DataError, EOFError)):
        read_table(path)
