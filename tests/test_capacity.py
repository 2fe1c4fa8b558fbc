"""How long a job takes on so many replicas: the cost model, its simulation, what the command says."""

from __future__ import annotations

import json

import pytest
from worlds import make_judged_world

from promptopt.api_scale import plan_capacity
from promptopt.capacity import Replicas, Wave, look_ahead, on_fewer_and_more, simulate, waves_of_file
from promptopt.cli.main import main
from promptopt.config import load_job
from promptopt.data import Stream
from promptopt.errors import ConfigError
from promptopt.records import Usage
from promptopt.setup import from_job

CALL = Usage(90, 10)


def test_a_call_takes_its_share_of_a_busy_replica():
    one = Replicas(1, 100.0, slots=4, latency=0.5)
    assert one.seconds(CALL) == pytest.approx(0.5 + 4 * 100 / 100)
    reads_fast = Replicas(1, 100.0, prompt_tokens_per_s=900.0, slots=4)
    assert reads_fast.seconds(CALL) == pytest.approx(4 * (90 / 900 + 10 / 100))


@pytest.mark.parametrize(
    ("count", "calls", "rounds"), [(1, 8, 2), (2, 8, 1), (1, 9, 3), (3, 1, 1), (2, 0, 0)]
)
def test_equal_calls_go_round_by_round(count, calls, rounds):
    replicas = Replicas(count, 100.0, slots=4)
    assert simulate(Wave([CALL] * calls), replicas) == pytest.approx(rounds * replicas.seconds(CALL))


def test_calls_take_the_slot_that_is_free_first():
    replicas = Replicas(1, 10.0, slots=2)
    calls = [Usage(0, n) for n in (40, 10, 10, 10, 10)]  # 8 s beside 2, 2, 2 and 2
    assert simulate(Wave(calls), replicas) == pytest.approx(8.0)
    assert simulate(Wave(calls, 3), replicas) == pytest.approx(24.0)


def test_no_job_is_done_before_its_tokens_are():
    replicas = Replicas(2, 100.0, slots=4, latency=0.1, usd_per_hour=3.6)
    found = look_ahead([Wave([CALL] * 80), Wave([CALL] * 3, 2)], replicas, own=1.0, price=None)
    assert (found.calls, found.waves, found.usage) == (86, 3, Usage(86 * 90, 86 * 10))
    assert found.floor == pytest.approx(86 * (100 / 100 + 0.1 / 4) / 2)
    assert found.seconds == pytest.approx(1.0 + (10 + 2) * replicas.seconds(CALL))
    assert found.floor < found.seconds
    assert 0 < found.busy < 1
    assert found.usd_replicas == pytest.approx(found.seconds * 2 * 0.001)
    others = on_fewer_and_more(found, [Wave([CALL] * 80), Wave([CALL] * 3, 2)])
    assert [each.replicas.count for each in others] == [1, 2, 4, 8]
    assert [each.seconds for each in others] == sorted((each.seconds for each in others), reverse=True)
    assert [each.busy for each in others] == sorted((each.busy for each in others), reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "replicas.count: must be more than 0; got 0"),
        ({"tokens_per_s": 0.0}, "replicas.tokens_per_s"),
        ({"slots": 0}, "replicas.slots"),
        ({"prompt_tokens_per_s": -1.0}, "replicas.prompt_tokens_per_s"),
        ({"latency": -1.0}, "replicas.latency: must not be negative"),
        ({"tokens_per_s": float("nan")}, "replicas.tokens_per_s"),
    ],
)
def test_numbers_without_a_meaning_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Replicas(**{"count": 1, "tokens_per_s": 1.0, **options})


@pytest.fixture
def job(tmp_path):
    rows = [{"question": f"Is {i} odd?", "output": "yes" if i % 2 else "no"} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {
        "data": "rows.jsonl", "prompt": "Answer. {{question}}", "reward": "exact_match", "search": "ape",
        "target": {"model": "openai/m", "price": {"input": 1, "output": 2}, "base_url": "http://127.0.0.1:9"},
        "budget": {"calls": 300},
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(json.dumps(data))
    return tmp_path / "job.yaml"


@pytest.mark.parametrize("rows", [5000, 12_345])
def test_a_file_is_looked_at_everywhere_and_counted_to_the_end(job, rows):
    path = job.parent / "all.jsonl"
    with path.open("w") as file:
        for i in range(rows):  # the longer, the later
            file.write(json.dumps({"question": "x" * (40 + 400 * i // rows), "output": "yes"}) + "\n")
    waves = waves_of_file(from_job(load_job(job)), Stream.open(path), part=1000)
    assert sum(len(wave.calls) * wave.times for wave in waves) == rows
    assert [len(wave.calls) for wave in waves] == ([1000] if rows == 5000 else [1000, 345])
    assert waves[0].times == rows // 1000
    outlook = look_ahead(waves, Replicas(1, 1000.0), 0.0, None)
    exact = sum((len("Answer. ") + 40 + 400 * i // rows) / 4 for i in range(rows)) + 4 * rows
    assert outlook.usage.prompt_tokens == pytest.approx(exact, rel=0.1)


def test_a_search_is_planned_from_a_dry_run_that_calls_nobody(job):
    outlook, waves = plan_capacity(load_job(job), Replicas(4, 1000.0))
    assert outlook.calls == sum(len(wave.calls) for wave in waves)
    assert 200 < outlook.calls <= 300
    usd = outlook.usage.prompt_tokens / 1e6 + 2 * outlook.usage.completion_tokens / 1e6
    assert outlook.usd_tokens == pytest.approx(usd)
    longer, _ = plan_capacity(load_job(job), Replicas(4, 1000.0), reply_tokens=30)
    assert longer.usage.completion_tokens > 5 * outlook.usage.completion_tokens


def test_the_command_says_time_and_money(job, capsys):
    words = ["plan", str(job), "--replicas", "4", "--tokens-per-s", "100", "--usd-per-hour", "2"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "tokens read" in out
    assert "% busy" in out
    assert [line.split()[0] for line in out.splitlines()[3:]] == ["1", "2", "4", "8", "16"]
    assert out.count("$") == 10
    assert main(words[:4]) == 2
    assert "--tokens-per-s: is missing" in capsys.readouterr().err


def test_a_search_that_trains_cannot_be_planned(job, capsys):
    words = ["plan", str(job), "--tokens-per-s", "9", "--set", "search=soft", "--set", "target=embedded/tiny"]
    assert main(words) == 2
    assert "cannot be rehearsed" in capsys.readouterr().err


def test_a_judged_file_is_asked_of_target_and_judge(tmp_path):
    file = make_judged_world(tmp_path)
    (tmp_path / "all.jsonl").write_text((tmp_path / "rows.jsonl").read_text() * 5)
    job = load_job(file)
    fleet = Replicas(1, 1000.0)
    plain, _ = plan_capacity(load_job(file, ["reward=exact_match"]), fleet, data=tmp_path / "rows.jsonl")
    outlook, _ = plan_capacity(job, fleet, data=tmp_path / "rows.jsonl")
    assert (plain.calls, outlook.calls) == (60, 120)
    assert outlook.usage.prompt_tokens > 3 * plain.usage.prompt_tokens
    assert plan_capacity(job, fleet)[0].calls > 200
