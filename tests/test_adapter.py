"""Trained weights: known by their content, checked when read, and part of a prompt and of its calls' keys."""

import json
from contextlib import closing
from dataclasses import replace

import pytest
import torch
from toys import fake

from promptopt.adapter import Adapter
from promptopt.calls import Caller
from promptopt.contracts.model import GenerateRequest, LikelihoodRequest, ModelIdentity
from promptopt.errors import DataError, UnsupportedError
from promptopt.journal import Journal
from promptopt.keys import request_key, worst_case
from promptopt.ledger import Ledger
from promptopt.prompt import Prompt
from promptopt.records import Message

CHAT = (Message("user", "hello"),)
MODEL = ModelIdentity("local", "tiny", "abc")


def write(folder, value=1.0, **more):
    tensors = {"prompt_embeddings": torch.full((2, 3), value)}
    return Adapter.write(folder, tensors, method="prompt_tuning", model="abc", vectors=2, **more)


def test_equal_weights_have_equal_files_and_others_do_not(tmp_path):
    one, same, other = (
        write(tmp_path / "a"),
        write(tmp_path / "b", nearest=("x",)),
        write(tmp_path / "a", 2.0),
    )
    assert one == same
    assert one.file.read_bytes() == same.file.read_bytes()
    assert one.digest != other.digest
    assert one.size == one.file.stat().st_size
    tensors, options = one.read()
    assert torch.equal(tensors["prompt_embeddings"], torch.ones(2, 3))
    assert options == {"method": "prompt_tuning", "model": "abc", "vectors": 2}


def test_a_file_that_was_changed_lost_or_is_something_else_is_refused(tmp_path):
    adapter = write(tmp_path)
    with pytest.raises(DataError, match="its weights are not here"):
        replace(adapter, file=None).read()
    write(tmp_path, 2.0).file.replace(adapter.file)
    with pytest.raises(DataError, match="holds other weights"):
        adapter.read()
    adapter.file.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        adapter.read()


def test_a_prompt_is_told_apart_by_its_weights_wherever_they_lie(tmp_path):
    plain = Prompt("Do it.")
    one = replace(plain, adapter=write(tmp_path / "a"))
    same = replace(plain, adapter=write(tmp_path / "b", nearest=("x", "y")))
    other = replace(plain, adapter=write(tmp_path / "a", 2.0))
    assert "adapter" not in plain.to_dict()
    assert one == same
    assert one.id == same.id
    assert len({plain.id, one.id, other.id}) == 3
    assert one.length == plain.length + 8
    assert same.label == "[prompt_tuning, 2 vectors, nearest x y] Do it."


def test_a_saved_prompt_takes_its_weights_along(tmp_path):
    prompt = replace(Prompt("Do it."), adapter=write(tmp_path / "work", nearest=("x", "y")))
    prompt.save(tmp_path / "best" / "prompt.json")
    (tmp_path / "best").rename(tmp_path / "moved")
    loaded = Prompt.load(tmp_path / "moved" / "prompt.json")
    assert loaded == prompt
    assert loaded.id == prompt.id
    assert loaded.adapter.nearest == ("x", "y")
    assert loaded.adapter.file.parent == tmp_path / "moved"
    assert loaded.adapter.read()[1]["vectors"] == 2
    assert loaded.save(tmp_path / "moved" / "prompt.json")  # onto itself
    assert str(tmp_path) not in json.dumps(prompt.to_dict())


def test_weights_are_found_in_the_folder_of_the_run_that_trained_them(tmp_path):
    adapter = write(tmp_path / "run" / "trained" / "soft")
    noted = Adapter.from_dict(adapter.to_dict())
    assert noted.file is None
    assert noted.found_in(tmp_path / "run").read()[1]["method"] == "prompt_tuning"
    assert noted.found_in(tmp_path / "elsewhere").file is None
    assert adapter.found_in(tmp_path / "elsewhere") is adapter


def test_what_is_no_adapter_is_refused(tmp_path):
    saved = replace(Prompt("Do it."), adapter=write(tmp_path)).to_dict()
    for wrong in ({"digest": "../../x"}, {"method": 3}, {"model": "m", "digest": 5}, {"more": 1}):
        with pytest.raises(DataError, match="not a saved adapter"):
            Prompt.from_dict(saved | {"adapter": saved["adapter"] | wrong})


def test_the_key_of_a_call_holds_the_digest_and_not_the_place(tmp_path):
    one, moved, other = write(tmp_path / "a"), write(tmp_path / "b"), write(tmp_path / "a", 2.0)
    for make in (
        lambda adapter: GenerateRequest(CHAT, adapter=adapter),
        lambda adapter: LikelihoodRequest(CHAT, "yes", adapter),
    ):
        keys = [request_key(MODEL, make(adapter)) for adapter in (None, one, moved, other)]
        assert keys[1] == keys[2]
        assert len(set(keys)) == 3
        assert worst_case(make(one)).tokens == worst_case(make(None)).tokens + 2


def test_a_model_that_knows_no_weights_is_never_asked_with_any(tmp_path):
    model = fake(lambda request: "yes")
    with closing(Journal(":memory:")) as journal:
        caller = Caller({"target": model}, journal, Ledger())
        with pytest.raises(UnsupportedError, match="cannot answer with trained weights; use a model in this"):
            caller.ask("target", [GenerateRequest(CHAT), GenerateRequest(CHAT, adapter=write(tmp_path))])
    assert model.calls == 0
