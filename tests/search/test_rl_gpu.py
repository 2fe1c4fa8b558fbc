"""RL on a GPU, where there is one: bfloat16, and generator and target side by side in its memory."""

import importlib.util

import pytest

from promptopt import optimize
from promptopt.search._rl_options import Training
from promptopt.search.rl import RL

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("trl") is None, reason="no GPU, or no trl"
)


@pytest.mark.parametrize("lora", [None, 4], ids=["full", "lora"])
def test_generator_and_target_share_the_gpu(lora):
    words = [f"{a}{b}t" for a in "bcfhmprst" for b in "aeiou"]
    training = Training(
        device="cuda", lora=lora, learning_rate=3e-4, micro_batch=8, activation_checkpointing=True
    )
    torch.cuda.reset_peak_memory_stats()
    study = optimize(
        prompt="Say something of the word.",
        train=[{"input": word, "output": word[0]} for word in words],
        target={"model": "embedded/small", "device": "cuda"},
        search=RL(steps=5, groups=2, rows=3, keep=1, shortlist=3, training=training),
        sizes={"search": 20, "select": 10, "test": 10},
        folder=None,
    )
    (note,) = study.search_notes
    assert len(note.data["curves"]) == 5
    assert all(point["entropy"] > 0 for point in note.data["curves"])
    assert torch.cuda.max_memory_allocated() < 4 * 2**30
