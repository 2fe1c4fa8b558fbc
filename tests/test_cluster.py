"""What of the cluster needs none: which weights are shipped, and that what was shipped is what is found."""

from __future__ import annotations

import sys

import pytest
from tiny_models import save_model

from promptopt import cluster, shipped
from promptopt.errors import MissingExtra
from promptopt.models.embedded import EmbeddedModel
from promptopt.models.local import LocalModel
from promptopt.testing.model import FakeModel


class Store:
    """Stands for Ray's object store."""

    def __init__(self) -> None:
        self.put_in: list[bytes] = []

    def put(self, data) -> int:
        self.put_in.append(bytes(data))
        return len(self.put_in) - 1


def test_each_folder_is_put_once_and_what_the_package_brings_is_not(tmp_path):
    folder, store = save_model(tmp_path / "model"), Store()
    models = [LocalModel(str(folder)), LocalModel(str(folder), threads=1), EmbeddedModel("tiny")]
    (shipment,) = cluster.pack(store, [*models, FakeModel(lambda request: "x")])
    files = sorted(path for path in folder.iterdir() if path.is_file())
    assert [name for name, _, _ in shipment.files] == [path.name for path in files]
    assert store.put_in == [path.read_bytes() for path in files]
    assert (shipment.name, shipment.place) == (str(folder), "model")
    (again,) = cluster.pack(store, models)
    assert again.digest == shipment.digest
    (folder / "config.json").write_bytes(files[0].read_bytes() + b"\n")
    assert cluster.pack(store, models)[0].digest != shipment.digest


def test_a_model_is_built_by_its_recipe_and_found_where_it_was_shipped(tmp_path, monkeypatch):
    folder = save_model(tmp_path / "here" / "model")
    model = LocalModel("team/model", revision="v1", threads=1)
    monkeypatch.setattr(shipped, "_folders", {})
    shipped.note("team/model", "v1", folder)
    name, options = model.recipe
    assert name == "hf/team/model"
    there = cluster.build(name, options)
    assert there == model
    assert there.folder == folder
    assert there.identity.model == "team/model"
    name, options = EmbeddedModel("tiny").recipe
    assert name == "embedded/tiny"
    assert cluster.build(name, options) == EmbeddedModel("tiny")


def test_without_ray_the_cure_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r'executor: ray: needs the package ray; pip install "promptopt'):
        cluster.connected(None)
