"""Read a table of any length page by page, each page by an index: how many came before it costs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .contract import PAGE, Row, Store


def numbered(*, calls: str, prompts: str) -> Mapping[str, Sequence[str]]:
    """Return by table the columns that put its rows in order; a store names those that are its own."""
    return {
        "meta": ("key",),
        "calls": (calls,),
        "attempts": ("id",),
        "prompts": (prompts,),
        "cells": ("prompt", "example", "sample", "reward"),
    }


def read_pages(store: Store, table: str, columns: Sequence[str]) -> Iterator[list[Row]]:
    """Iterate over all rows of a table, at most `PAGE` at a time, in the order of `store.places`.

    A page is asked for by the place of the last row before it, so that nothing has to stay open in between.
    """
    places = store.places[table]
    names = ", ".join((*columns, *places))
    order, marks = ", ".join(places), ", ".join("?" * len(places))
    after: Row = ()
    while True:
        where = f"WHERE ({order}) > ({marks})" if after else ""
        rows = store.query(f"SELECT {names} FROM {table} {where} ORDER BY {order} LIMIT {PAGE}", after)
        if rows:
            after = rows[-1][len(columns) :]
            yield [row[: len(columns)] for row in rows]
        if len(rows) < PAGE:
            return
