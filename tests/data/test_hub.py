"""Rows from the hub, through a stand-in for the package `datasets`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from reading import failure

from promptopt.data import read
from promptopt.errors import MissingExtra


@dataclass
class FakeLabel:
    names: list[str]


class FakeDataset(list[dict[str, Any]]):
    features: dict[str, object]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Install a stand-in for the package `datasets` that knows one data set; returns the calls made."""
    calls: list[tuple[Any, ...]] = []

    def part(rows: list[dict[str, Any]]) -> FakeDataset:
        dataset = FakeDataset(rows)
        dataset.features = {"text": object(), "label": FakeLabel(["neg", "pos"])}
        return dataset

    def load_dataset(path: str, name: str | None = None, split: str | None = None) -> Any:
        calls.append((path, name, split))
        if path != "owner/reviews":
            raise FileNotFoundError(f"Dataset '{path}' doesn't exist on the Hub\nmore")
        parts = {
            "train": part([{"text": "bad", "label": 0}, {"text": "good", "label": 1}]),
            "test": part([{"text": "fine", "label": 1}]),
            "hidden": part([{"text": "?", "label": -1}]),
        }
        return parts[split] if split else {name: parts[name] for name in ("train", "test")}

    fake = ModuleType("datasets")
    fake.load_dataset = load_dataset  # type: ignore[attr-defined]
    fake.ClassLabel = FakeLabel  # type: ignore[attr-defined]
    fake.exceptions = SimpleNamespace(DatasetsError=KeyError)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return calls


def test_hub_reads_all_splits_and_names_labels(hub: list[tuple[Any, ...]]) -> None:
    rows = read("hub:owner/reviews")
    assert hub == [("owner/reviews", None, None)]
    assert [(r.example.inputs["text"], r.example.answer, r.split, r.origin) for r in rows] == [
        ("bad", "neg", "train", "hub:owner/reviews@train row 1"),
        ("good", "pos", "train", "hub:owner/reviews@train row 2"),
        ("fine", "pos", "test", "hub:owner/reviews@test row 1"),
    ]


def test_hub_reads_one_split_and_a_config(hub: list[tuple[Any, ...]]) -> None:
    assert [row.split for row in read("hub:owner/reviews/plain@train")] == [None, None]
    read("hub:owner/reviews", hub_split="test")
    read("hub:owner/reviews@train", hub_split="test")
    assert hub == [
        ("owner/reviews", "plain", "train"),
        ("owner/reviews", None, "test"),
        ("owner/reviews", None, "train"),
    ]


def test_hub_errors(hub: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert failure("hub:owner/nothing") == (
        "hub:owner/nothing: cannot be loaded: Dataset 'owner/nothing' doesn't exist on the Hub"
    )
    assert "hub:owner/reviews@hidden row 1: 'label' is null" in failure("hub:owner/reviews@hidden")
    for name in ("hub:", "hub:a//b", "hub:a/b/c/d", "hub:a/b@"):
        assert "not a name on the hub" in failure(name)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r'pip install "promptopt\[text\]"'):
        read("hub:owner/reviews")
