"""`aoptimize` in an event loop: the loop goes on, cancelling ends the run, nothing bought is lost."""

import asyncio
import sqlite3
import time

import pytest
from toys import proposer_reply, rows, target_reply

import promptopt as po
from promptopt.errors import ConfigError
from promptopt.events import Stage
from promptopt.testing.model import FakeModel


def job(**changes):
    return {
        "prompt": "Do something.", "train": rows(), "target": FakeModel(target_reply),
        "proposer": FakeModel(proposer_reply), "folder": None, **changes,
    }  # fmt: skip


def test_it_is_optimize_and_the_loop_goes_on_meanwhile():
    beats, stages = [], []

    def slow(request):
        time.sleep(0.001)
        return target_reply(request)

    def listen(event):
        if isinstance(event, Stage):
            stages.append(event.name)

    async def heart():
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def both():
        beating = asyncio.create_task(heart())
        study = await po.aoptimize(**job(target=FakeModel(slow), listen=listen))
        beating.cancel()
        return study

    study = asyncio.run(both())
    assert study.verdict == po.optimize(**job()).verdict
    assert len(beats) > 5
    assert stages == ["baseline", "search", "select", "test", "done"]


def test_several_runs_side_by_side_do_not_touch_each_other():
    async def several():
        return await asyncio.gather(*(po.aoptimize(**job(seed=seed)) for seed in (0, 1, 2)))

    together = asyncio.run(several())
    alone = [po.optimize(**job(seed=seed)) for seed in (0, 1, 2)]
    assert [study.verdict for study in together] == [study.verdict for study in alone]
    assert [study.best for study in together] == [study.best for study in alone]


def test_a_cancelled_run_ends_and_goes_on_later_from_where_it_was(tmp_path):
    asked = []

    def slow(request):
        asked.append(request)
        time.sleep(0.005)
        return target_reply(request)

    async def cancelled():
        run = asyncio.create_task(po.aoptimize(**job(target=FakeModel(slow), folder=tmp_path / "runs")))
        while len(asked) < 60:
            await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        before = len(asked)
        await asyncio.sleep(0.1)
        return before

    assert asyncio.run(cancelled()) == len(asked)
    (folder,) = [path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]
    with sqlite3.connect(folder / "journal.sqlite") as journal:
        ((kept,),) = journal.execute("SELECT count(*) FROM calls WHERE role = 'target'")
    assert kept >= 50
    model = FakeModel(target_reply)
    study = po.optimize(**job(target=model, folder=folder))
    assert study.verdict == po.optimize(**job()).verdict
    assert len(model.requests) <= study.spent["target"].calls - kept


def test_what_is_wrong_is_raised_where_it_is_awaited():
    async def wrong():
        await po.aoptimize(**job(serch="ape"))

    with pytest.raises(ConfigError, match="did you mean 'search'"):
        asyncio.run(wrong())


def test_optimize_itself_works_inside_a_running_loop():
    async def inside():
        return po.optimize(**job())

    assert asyncio.run(inside()).verdict == po.optimize(**job()).verdict
