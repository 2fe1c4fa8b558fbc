"""Steps and checkpoints on disk: what a kill has torn is left out."""

import json

from promptopt.search._rl_log import StepLog, newest_checkpoint


def test_a_torn_line_and_what_came_after_a_checkpoint_are_dropped(tmp_path):
    log = StepLog(tmp_path / "steps.jsonl")
    assert log.read() == []
    for step in range(4):
        log.append({"step": step, "texts": ["ä", None]})
    with log.path.open("a") as out:
        out.write('{"step": 4, "te')
    assert [record["step"] for record in log.read()] == [0, 1, 2, 3]
    assert log.keep(2) == [{"step": step, "texts": ["ä", None]} for step in (0, 1)]
    log.append({"step": 2})
    assert [record["step"] for record in log.read()] == [0, 1, 2]


def checkpoint(folder, step, state=None, files=("model.safetensors",)):
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}) if state is None else state)
    for name in files:
        (path / name).touch()
    return path


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    needed = ("model.safetensors",)
    assert newest_checkpoint(tmp_path, needed) is None
    checkpoint(tmp_path, 2)
    whole = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 12, state='{"global_st')
    checkpoint(tmp_path, 14, files=())
    (tmp_path / "checkpoint-16").mkdir()
    assert newest_checkpoint(tmp_path, needed) == (whole, 10)
