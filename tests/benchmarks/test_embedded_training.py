from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from benchmarks.embedded import shards
from benchmarks.embedded.__main__ import IN_PACKAGE
from benchmarks.embedded.batches import WIDTHS, Document, encode, lay_out, pack
from benchmarks.embedded.contracts import Tree
from benchmarks.embedded.model import SIZES, build, forward, relate_word_forms
from benchmarks.embedded.muon import Muon, orthogonalize
from benchmarks.embedded.shards import PARTS, Recipe
from benchmarks.embedded.train import Settings, Training, rate_at, train

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "promptopt" / "models" / "embedded" / "small"
TREE = Tree(
    (("<|user|>Write the first letter.\n\nInput: ", 0.02),),
    (
        (("dog\nOutput:<|assistant|>", 0.0), ("d<|end|>", 1.0)),
        (("a cat\nOutput:<|assistant|>", 0.0), ("c", 1.0)),
    ),
)


def toy_tree(rng: Random) -> Tree:
    """Draw letters to repeat; one document in ten needs a wide row."""
    letters = [rng.choice("abcdef") for _ in range(130 if rng.random() < 0.1 else rng.randint(3, 40))]
    answer = ((f" {' '.join(letters)}<|end|>", 1.0),)
    return Tree(((f"<|user|>repeat{' '.join(letters)}<|assistant|>", 0.1),), (answer, answer))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(TOKENIZER)


@pytest.fixture
def recipe(tokenizer: PreTrainedTokenizerFast) -> Recipe:
    return Recipe(toy_tree, tokenizer, seed=0, part=1024)


@pytest.fixture
def trained(tokenizer: PreTrainedTokenizerFast) -> Recipe:
    return Recipe(toy_tree, tokenizer, seed=0, part=512)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        size="tiny", tokenizer=str(TOKENIZER), out=str(tmp_path), tokens=6 * 1024, processes=1, batch=1024,
        part=512, compiled=False,
    )  # fmt: skip


def test_the_forward_pass_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    for shape in SIZES.values():
        model = build(shape, 300)
        for parameter in model.parameters():  # weights near zero would hide a wrong rotation or norm
            draw = torch.nn.init.normal_ if parameter.ndim == 1 else torch.nn.init.xavier_normal_
            draw(parameter)
        ids = torch.randint(5, 300, (2, 40))
        causal = torch.ones(40, 40, dtype=torch.bool).tril().expand(2, 40, 40)
        with torch.no_grad():
            ours = forward(model, ids, torch.arange(40).expand(2, 40), causal)
            theirs = model.model(input_ids=ids).last_hidden_state
        assert torch.allclose(ours, theirs, atol=1e-4)
        assert ours.abs().max() > 0.1


def test_three_of_the_sizes_fit_into_a_wheel() -> None:
    parameters = {
        size: sum(p.numel() for p in build(shape, 4700).parameters()) for size, shape in SIZES.items()
    }
    assert sum(parameters[size] for size in IN_PACKAGE) * 2 <= 24.5e6
    assert [round(count / 1e6, 1) for count in parameters.values()] == [1.1, 3.4, 7.6, 31.3]


def test_the_forms_of_a_word_start_close_to_each_other(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build(SIZES["tiny"], len(tokenizer))
    relate_word_forms(model, tokenizer.get_vocab())
    embeddings, number = model.get_input_embeddings().weight, tokenizer.get_vocab()
    shift = embeddings[number["Ġdog"]] - embeddings[number["dog"]]
    assert torch.allclose(shift, embeddings[number["Ġapple"]] - embeddings[number["apple"]], atol=1e-6)
    assert shift.norm() > 0.05


def test_a_branch_sees_its_trunk_and_nothing_else(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model = build(SIZES["tiny"], len(tokenizer))
    whole = encode(TREE, tokenizer, Random(0))
    other = encode(toy_tree(Random(1)), tokenizer, Random(0))
    alone = encode(Tree(TREE.trunk, TREE.branches[1:]), tokenizer, Random(0))
    packed, single = lay_out([[whole], [other, whole, other]], 256), lay_out([[alone]], 256)
    with torch.no_grad():
        beside = forward(model, packed.ids, packed.positions, packed.mask)
        by_itself = forward(model, single.ids, single.positions, single.mask)[0, : len(alone.ids)]
    second = [place for place, branch in enumerate(whole.branches) if branch in (0, 2)]
    assert torch.allclose(beside[0, second], by_itself, atol=1e-5)
    shifted = [len(other.ids) + place for place in second]
    assert torch.allclose(beside[1, shifted], by_itself, atol=1e-5)
    assert torch.isfinite(beside).all()


def test_every_branch_is_predicted_from_the_end_of_the_trunk(tokenizer: PreTrainedTokenizerFast) -> None:
    tree = Tree((("<|user|>x<|assistant|>", 0.0),), ((("ab", 1.0),), (("", 1.0),), (("c", 0.5),)))
    document = encode(tree, tokenizer, Random(0))
    a, b, c = (tokenizer.convert_tokens_to_ids(letter) for letter in "abc")
    assert document.targets == [(2, a, 1.0), (3, b, 1.0), (2, c, 0.5)]
    assert document.positions == [0, 1, 2, 3, 4, 3]
    part = lay_out([[document], [document, document]], 16)
    assert part.sources.tolist() == [2, 3, 2, 18, 19, 18, 24, 25, 24]
    assert (part.owners >= 0).sum() == 18


def test_light_targets_are_thinned_and_their_weight_is_kept_on_average(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    document = encode(Tree((("a b " * 2000, 0.1),)), tokenizer, Random(0))
    assert len(document.targets) / len(document.ids) == pytest.approx(0.25, abs=0.02)
    assert {weight for _, _, weight in document.targets} == {0.2}


def test_packing_uses_each_document_at_most_once_and_starts_with_the_oldest() -> None:
    documents = [Document([5] * size, [], [], []) for size in (30, 90, 70, 20, 80, 10, 100)]
    assert pack(documents, 2, 100) == [[0, 2], [1, 5]]


def test_a_shard_holds_long_documents_too_and_little_padding(recipe: Recipe) -> None:
    parts = recipe.shard(3)
    assert len(parts) == PARTS
    assert {part.ids.shape for part in parts} == {(4, WIDTHS[0]), (2, WIDTHS[1])}
    assert parts[-1].ids.shape == (2, WIDTHS[1])
    filled = torch.stack([(part.owners >= 0).float().mean() for part in parts])
    assert filled.mean() > 0.9
    drawn = sum(int(part.owners.max(dim=1).values.add(1).sum()) for part in parts)
    assert 100 < drawn < 1000


def test_a_shard_depends_on_its_number_and_the_seed_alone(recipe: Recipe) -> None:
    first, again, other = recipe.shard(1), recipe.shard(1), recipe.shard(2)
    seeded = replace(recipe, seed=8).shard(1)
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].ids, other[0].ids)
    assert not torch.equal(first[0].ids, seeded[0].ids)


def test_a_shard_is_read_as_it_was_written(recipe: Recipe, tmp_path: Path) -> None:
    drawn = recipe.shard(0)
    shards.write(drawn, shards.path_of(tmp_path, 0))
    read = shards.read(shards.path_of(tmp_path, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["000000.npz"]
    for ours, theirs in zip(drawn, read, strict=True):
        for field in fields(ours):
            assert torch.equal(getattr(ours, field.name), getattr(theirs, field.name))


def test_parts_go_on_from_any_place_and_shards_may_be_shared_out(recipe: Recipe, tmp_path: Path) -> None:
    shards.produce(recipe, tmp_path, range(4))
    own = list(islice(shards.parts(recipe, 1, 2, 0, None, "cpu"), 2 * PARTS))
    late = list(islice(shards.parts(recipe, 1, 2, PARTS + 5, tmp_path, "cpu"), PARTS - 5))
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(own[PARTS + 5 :], late, strict=True))
    assert torch.equal(own[PARTS].ids, recipe.shard(3)[0].ids)


def test_a_shard_that_does_not_come_is_an_error(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "PATIENCE", 0.1)
    with pytest.raises(TimeoutError, match=r"000007.npz did not come"):
        next(shards.parts(recipe, 7, 1, 0, tmp_path, "cpu"))


def test_a_document_too_long_for_any_row_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    recipe = Recipe(lambda rng: Tree((("a " * 600, 1.0),)), tokenizer, seed=0, part=512)
    with pytest.raises(ValueError, match="has 601 tokens, at most 512 fit: a a"):
        recipe.shard(0)


def test_muon_moves_a_matrix_by_an_orthogonal_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(3, 16, 48)))
    assert values.min() > 0.5
    assert values.max() < 1.3
    matrices = [torch.nn.Parameter(torch.randn(48, 16)), torch.nn.Parameter(torch.randn(16, 48))]
    before = [matrix.detach().clone() for matrix in matrices]
    for matrix in matrices:
        matrix.grad = torch.randn_like(matrix)
    Muon(matrices, decay=0.0).step(0.1)
    for matrix, old in zip(matrices, before, strict=True):
        moved = torch.linalg.svdvals(matrix - old) / (
            0.1 * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        )
        assert moved.min() > 0.5
        assert moved.max() < 1.3
        assert (matrix.grad * (old - matrix)).sum() > 0  # downhill


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    assert [rate_at(share) for share in (0.0, 0.01, 0.02, 0.5, 0.775, 1.0)] == pytest.approx(
        [0, 0.5, 1, 1, 0.5, 0]
    )


def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(settings: Settings, trained: Recipe) -> None:
    checkpoint = Path(settings.out) / "checkpoint.pt"
    uncut = Training(settings, trained)
    losses = [uncut.advance()[0] for _ in range(6)]
    cut = Training(settings, trained)
    first = [cut.advance()[0] for _ in range(3)]
    cut.save(checkpoint)
    resumed = Training(settings, trained)
    resumed.load(checkpoint)
    assert first + [resumed.advance()[0] for _ in range(3)] == losses
    assert losses[-1] < losses[0]
    for ours, theirs in zip(resumed.parameters, uncut.parameters, strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_of_another_training_is_refused(settings: Settings, trained: Recipe) -> None:
    checkpoint = Path(settings.out) / "checkpoint.pt"
    Training(settings, trained).save(checkpoint)
    with pytest.raises(ValueError, match="with seed 0, not 7"):
        Training(replace(settings, seed=7), trained).load(checkpoint)


def test_the_exported_folder_is_an_ordinary_one(
    settings: Settings, trained: Recipe, tokenizer: PreTrainedTokenizerFast
) -> None:
    training = Training(settings, trained)
    train(training)
    model = AutoModelForCausalLM.from_pretrained(Path(settings.out) / "model")
    again = AutoTokenizer.from_pretrained(Path(settings.out) / "model")
    message = [{"role": "user", "content": "repeat a b c"}]
    ids = again.apply_chat_template(message, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    assert ids.tolist() == [tokenizer.encode("<|user|>repeat a b c<|assistant|>", add_special_tokens=False)]
    assert model.dtype == torch.bfloat16
    assert (model.generation_config.do_sample, model.generation_config.max_new_tokens) == (False, 48)
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (2, 0)
    with torch.no_grad():
        exact, rounded = training.model(ids).logits, model(ids).logits.float()
    assert (exact - rounded).abs().max() < 0.05 * exact.abs().max()
    lines = (Path(settings.out) / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [6]


@pytest.mark.slow
def test_two_processes_train_on_real_documents_and_resume(tmp_path: Path) -> None:
    def run(out: str, *more: str) -> torch.Tensor:
        command = [
            sys.executable, "-m", "benchmarks.embedded.train", "--size", "tiny",
            "--tokenizer", str(TOKENIZER),
            "--out", str(tmp_path / out), "--tokens", "8192", "--batch", "2048", "--part", "1024",
            "--device", "cpu", "--no-compiled",
        ]  # fmt: skip
        subprocess.run([*command, *more], cwd=ROOT, check=True, timeout=250)
        checkpoint = torch.load(tmp_path / out / "checkpoint.pt", weights_only=True)
        assert checkpoint["step"] == (4 if "--probe" not in more else 1)
        return checkpoint["model"]["model.embed_tokens.weight"]

    uncut = run("uncut")
    run("cut", "--save-every", "0", "--probe", "0.001")
    assert torch.equal(run("cut", "--resume"), uncut)
