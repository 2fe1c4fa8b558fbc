"""Divide rows into search, select and a sealed test split, by declaration or by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from .data import Row, Rows
from .errors import ConfigError, DataError, SealedSplit, did_you_mean
from .proof.power import MIN_UNITS
from .records import Example, digest, fold_inputs

SplitName = Literal["search", "select", "test"]

NAMES: dict[str, SplitName] = {
    "search": "search",
    "train": "search",
    "select": "select",
    "dev": "select",
    "validation": "select",
    "valid": "select",
    "val": "select",
    "test": "test",
}
"""What a declared split may be called."""

SHARES: dict[SplitName, float] = {"test": 0.4, "select": 0.2, "search": 0.4}
"""Shares of a seeded partition, in the order in which it is drawn; test is large because it proves."""

CAPS: dict[SplitName, int] = {"test": 1000, "select": 200, "search": 400}
"""Most rows of a split whose size is not given, so that nobody pays for 100,000 rows by accident.

1,000 paired test rows bring the standard error of a difference under .02; searching needs fewer, as it
only ranks.
"""


_UNTESTED: dict[SplitName, float] = {"select": SHARES["select"] + SHARES["test"], "search": SHARES["search"]}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows wanted in each split; None is the default: the share of `SHARES`, at most `CAPS`.

    `test` 0 is no test split: its share goes to select, whose rows then have to prove, too.
    """

    search: int | None = None
    select: int | None = None
    test: int | None = None

    def of(self, name: SplitName) -> int | None:
        """Return the size of one split."""
        return {"search": self.search, "select": self.select, "test": self.test}[name]


DEFAULT_SIZES = Sizes()


class Splits:
    """The three splits of a task, the test rows sealed.

    The seal is a guard against mistakes: test rows come out once, through `open_test`, and through no
    repr, copy or serialisation.

    Attributes:
        search: rows for the searcher, in the run's seeded order; blocks are prefixes of it.
        select: rows for choosing the winner, likewise.
        n_test: number of test rows; 0 is no test split.
        test_units: number of independent test rows: those that share a group count once.
        unused: number of rows that sizes and caps left out.
        fields: names of the input fields.
        fingerprint: digest of ids and contents of all three splits in their order.
        marks: by row id: its split, a digest of its content, its group. Enough to tell rows apart and too
            little to read them, so test rows are among them.
    """

    __slots__ = (
        "_opened",
        "_purpose",
        "_test",
        "fields",
        "fingerprint",
        "marks",
        "n_test",
        "search",
        "select",
        "test_units",
        "unused",
    )

    def __init__(
        self,
        search: Sequence[Example],
        select: Sequence[Example],
        test: Sequence[Example],
        fields: Sequence[str],
        unused: int = 0,
    ) -> None:
        """Store the rows and seal the test split."""
        self.search, self.select, self.fields = tuple(search), tuple(select), tuple(fields)
        self._test: tuple[Example, ...] | None = tuple(test)
        self._opened: tuple[Example, ...] = ()
        self._purpose = ""
        self.n_test = len(self._test)
        self.test_units = count_units(self._test)
        self.unused = unused
        self.fingerprint = digest([_contents(rows) for rows in (self.search, self.select, self._test)])
        self.marks: dict[str, tuple[SplitName, str, str | None]] = {
            row.id: (name, digest(content[1:]), row.group)
            for name, rows in self._sealed().items()
            for row, content in zip(rows, _contents(rows), strict=True)
        }

    def check(self, check: Callable[[Example], None]) -> None:
        """Let `check` look at every row and raise; what it may see of test rows it must not keep."""
        for rows in self._sealed().values():
            for row in rows:
                check(row)

    def of(self, name: str, purpose: str) -> tuple[Example, ...]:
        """Return the rows of a split by its name; test rows are opened for `purpose`.

        Raises:
            ConfigError: there is no such split.
            SealedSplit: the test rows were opened before.
        """
        match name:
            case "search":
                return self.search
            case "select":
                return self.select
            case "test":
                return self.open_test(purpose)
        raise ConfigError("split", "no such split", got=name, do="choose from search, select, test")

    @property
    def opened(self) -> bool:
        """Whether the test rows are out."""
        return self.n_test > 0 and self._test is None

    def open_test(self, purpose: str) -> tuple[Example, ...]:
        """Return the test rows, once.

        Args:
            purpose: why, in a few words; a second opener is told.

        Raises:
            DataError: there are none.
            SealedSplit: they were opened before.
        """
        if not self.n_test:
            raise DataError("test split", "holds no rows", do="give sizes.test rows, or use another split")
        if self._test is None:
            raise SealedSplit(
                "test split",
                f"was opened already for {self._purpose!r}",
                got=purpose,
                do="a split looked at twice proves nothing: use search or select rows",
            )
        self._opened, self._test, self._purpose = self._test, None, purpose
        return self._opened

    @property
    def seen(self) -> dict[str, tuple[Example, ...]]:
        """The rows by split as far as they may be seen: test rows once they have been opened."""
        return {"search": self.search, "select": self.select, "test": self._opened}

    def _sealed(self) -> dict[SplitName, tuple[Example, ...]]:
        return {"search": self.search, "select": self.select, "test": self._test or ()}

    def __repr__(self) -> str:
        """Show sizes only."""
        state = f"opened for {self._purpose!r}" if self._test is None else "sealed"
        return (
            f"Splits(search={len(self.search)}, select={len(self.select)}, test={self.n_test} {state}, "
            f"fingerprint={self.fingerprint!r})"
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be copied or pickled, for a copy would break the seal."""
        raise SealedSplit("test split", "splits cannot be copied or serialised", do="make them again by seed")


def make_splits(
    rows: Rows, *, seed: int, sizes: Sizes = DEFAULT_SIZES, allow_duplicates: bool = False
) -> Splits:
    """Divide rows into search, select and test.

    Declared splits (a split column, hub splits, or `Rows.assign`) are kept; where only one of search and
    select is declared, both are drawn from it. Without any, all three are drawn.

    Drawing is by SHA-256 of seed and id, so it does not depend on the order of the rows, and new rows move
    few of the old ones. Rows that share a group, or whose inputs are the same but for case and white
    space, are drawn together; a size that falls inside a group leaves the group's other rows out.

    Args:
        rows: the rows; several sources are joined by `+`.
        seed: the run's seed.
        sizes: rows wanted in each split.
        allow_duplicates: accept the same inputs in two declared splits.

    Raises:
        DataError: a split is unknown, missing or too small, or two declared splits share inputs or a group.
    """
    tested = sizes.test != 0
    pools = _pools(rows, tested)
    _check_disjoint(pools, allow_duplicates)
    drawn: dict[SplitName, list[Example]] = {"test": []}
    for names, pool in pools.items():
        drawn |= _draw(pool, names, sizes, seed, SHARES if tested else _UNTESTED)
    unused = len(rows) - sum(map(len, drawn.values()))
    return Splits(drawn["search"], drawn["select"], drawn["test"], rows.fields, unused)


def sizes_for(rows: Rows, sizes: Sizes) -> Sizes:
    """Return the sizes to split these rows by: without a test split where it could prove nothing.

    A test split that nobody asked for, with fewer independent rows than any improvement needs, would only
    take rows away from the choice.
    """
    if sizes.test is not None or any(row.split is not None for row in rows):
        return sizes
    units = len(_units(list(rows), 0))
    return replace(sizes, test=0) if round(units * SHARES["test"]) < MIN_UNITS else sizes


def count_units(rows: Iterable[Example]) -> int:
    """Return the number of independent rows: those that share a group count once."""
    return len({(row.group is None, row.id if row.group is None else row.group) for row in rows})


Pools = dict[tuple[SplitName, ...], list[Row]]


def _pools(rows: Rows, tested: bool) -> Pools:
    """Return what to draw from what: one pool for all three splits, or a pool for each declared one."""
    if all(row.split is None for row in rows):
        return {tuple(SHARES if tested else _UNTESTED): list(rows)}
    declared: dict[SplitName, list[Row]] = {}
    for row in rows:
        if row.split is None:
            some = next(other for other in rows if other.split is not None)
            raise DataError(
                row.origin, f"has no split, but {some.origin} has", do="give every row a split or none"
            )
        name = NAMES.get(row.split.strip().casefold())
        if name is None:
            raise DataError(row.origin, f"unknown split {row.split!r}", do=did_you_mean(row.split, NAMES))
        declared.setdefault(name, []).append(row)
    drawn: tuple[SplitName, SplitName] = ("select", "search")
    rest = [name for name in drawn if name in declared]
    if not tested:
        declared.pop("test", None)
    if not rest or (tested and "test" not in declared):
        raise DataError(
            "splits",
            f"no {'test' if rest else 'search'} rows among the declared splits",
            got=sorted({row.split for row in rows if row.split}),
            do="declare some, or set split to null to draw all splits by seed",
        )
    if len(rest) == 1:
        return (
            {("test",): declared["test"], drawn: declared[rest[0]]} if tested else {drawn: declared[rest[0]]}
        )
    return {(name,): pool for name, pool in declared.items()}


def _check_disjoint(pools: Pools, allow_duplicates: bool) -> None:
    """Raise DataError if two pools share a group or, unless allowed, inputs."""
    seen: dict[tuple[str, object], tuple[SplitName, Row]] = {}
    shared: list[tuple[str, Row]] = []
    for names, pool in pools.items():
        for row in pool:
            for key in _keys(row):
                split, first = seen.setdefault(key, (names[-1], row))
                if split == names[-1] or (key[0] == "inputs" and allow_duplicates):
                    continue
                if key[0] == "group":
                    raise DataError(
                        row.origin,
                        f"group {key[1]!r} is in {names[-1]} here and in {split} at {first.origin}",
                        do="keep a group in one split, or set group to null",
                    )
                shared.append((f"is in {names[-1]} here and in {split} at {first.origin}", row))
    if shared:
        problem, row = shared[0]
        more = f" ({len(shared)} such rows)" if len(shared) > 1 else ""
        raise DataError(
            row.origin,
            f"the same input {problem}{more}",
            got=dict(row.example.inputs),
            do="remove one, or set allow_duplicates",
        )


def _keys(row: Row) -> Iterable[tuple[str, object]]:
    """Return what ties a row to others: its folded inputs, and its group."""
    yield "inputs", fold_inputs(row.example.inputs)
    if row.example.group is not None:
        yield "group", row.example.group


def _draw(
    pool: list[Row], names: tuple[SplitName, ...], sizes: Sizes, seed: int, shares: Mapping[SplitName, float]
) -> dict[SplitName, list[Example]]:
    """Draw the splits `names` from a pool; each comes out in seeded order."""
    counts = _counts(len(pool), names, sizes, shares)
    units = _units(pool, seed)
    if len(units) < len(names):
        raise DataError(
            "splits",
            f"{len(pool)} rows, tied by group or by the same input, leave {len(units)} to divide "
            f"into {', '.join(names)}",
            do="add rows, or set group to null",
        )
    drawn: dict[SplitName, list[Example]] = {}
    for index, name in enumerate(names):
        later = names[index + 1 :]
        wanted = sizes.of(name)
        end = len(units)
        if later:
            reserved = sum(sizes.of(other) or 1 for other in later)
            end = _take([len(unit) for unit in units], counts[name], len(later), reserved, wanted is None)
        rows = [row.example for unit in units[:end] for row in unit]
        units = units[end:]
        if wanted is not None and len(rows) < wanted:
            raise DataError(
                f"sizes.{name}",
                f"asks for {wanted} rows; keeping groups and equal inputs together leaves {len(rows)}",
                do="ask for fewer",
            )
        rows.sort(key=lambda example: _rank(seed, example.id))
        drawn[name] = rows[: CAPS[name] if wanted is None else wanted]
    return drawn


def _counts(
    n: int, names: tuple[SplitName, ...], sizes: Sizes, shares: Mapping[SplitName, float]
) -> dict[SplitName, int]:
    """Return the rows to aim at for each split of a pool of `n` rows."""
    given = {name: size for name in names if (size := sizes.of(name)) is not None}
    for name, size in given.items():
        if size < 1:
            raise DataError(f"sizes.{name}", "must be at least 1", got=size)
    unset = [name for name in names if name not in given]
    asked, left = sum(given.values()), n - sum(given.values())
    if left < len(unset):
        where = "sizes" + (f".{names[0]}" if len(names) == 1 else "")
        more = f", and {' and '.join(unset)} need one each" if unset else ""
        raise DataError(
            where, f"{asked} rows asked for{more}; there are {n}", do="ask for fewer, or add rows"
        )
    total, total_unset = sum(shares[name] for name in names), sum(shares[name] for name in unset)
    return given | {
        name: max(
            1, min(CAPS[name], round(n * shares[name] / total), round(left * shares[name] / total_unset))
        )
        for name in unset
    }


def _take(lengths: Sequence[int], target: int, later: int, reserved: int, nearest: bool) -> int:
    """Return how many units (of `lengths` rows) make a split of `target` rows, at least 1.

    Left behind are at least `later` units, and `reserved` rows if possible. `nearest` may stay below the
    target when that is closer than passing it; else only running out does.
    """
    count, left = 0, sum(lengths)
    for index, length in enumerate(lengths):
        over = count + length / 2 > target if nearest else count >= target
        if index and (over or len(lengths) - index <= later or left - length < reserved):
            return index
        count += length
        left -= length
    return len(lengths)


def _units(pool: list[Row], seed: int) -> list[list[Row]]:
    """Return the sets of rows that must stay together, in seeded order (union-find over `_keys`)."""
    root = list(range(len(pool)))

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    owner: dict[tuple[str, object], int] = {}
    for index, row in enumerate(pool):
        for key in _keys(row):
            root[find(index)] = find(owner.setdefault(key, index))
    units: dict[int, list[Row]] = {}
    for index, row in enumerate(pool):
        units.setdefault(find(index), []).append(row)
    return sorted(units.values(), key=lambda unit: _rank(seed, min(map(_name, unit))))


def _name(row: Row) -> str:
    group = row.example.group
    return row.example.id if group is None else f"group:{group}"


def _rank(seed: int, name: str) -> tuple[str, str]:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest(), name


def _contents(rows: Iterable[Example]) -> list[list[object]]:
    return [[row.id, row.inputs, row.answers, row.options, row.group] for row in rows]
