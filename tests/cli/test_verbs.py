from __future__ import annotations

import json
from pathlib import Path

import pytest
from loopback import LoopbackServer, Reply, hash_logprobs
from worlds import JOB, make_world

from promptopt.cli.doctor import _gpu
from promptopt.cli.main import main
from promptopt.prompt import Prompt
from promptopt.runfolder import RunFolder

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def row(out: str, start: str) -> list[str]:
    (line,) = [line for line in out.splitlines() if line.startswith(start)]
    return line.removeprefix(start).split()


def test_score_compares_texts_files_and_saved_prompts(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path)
    (tmp_path / "mine.txt").write_text("Now in capitals.\n", encoding="utf-8")
    Prompt.parse("All capitals.", ["input"]).save(tmp_path / "saved.json")
    argv = ["score", ".", "--split", "search", "--rows", "10", "-q"]
    for prompt in ("Just say it.", "mine.txt", "saved.json"):
        argv += ["--prompt", prompt]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert row(out, "Just say it.") == ["0.00", "[.00,.28]", "10", "0", "0"]
    assert row(out, "Now in capitals.") == ["1.00", "[.72,1.00]", "10", "0", "0"]
    assert row(out, "All capitals.") == ["1.00", "[.72,1.00]", "10", "0", "0"]


def test_score_takes_the_jobs_own_prompt_and_warns_of_test_rows(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path)
    assert main(["score", "promptopt.yaml", "--split", "test"]) == 0
    out = capsys.readouterr().out
    assert row(out, "Write the word.")[0] == "0.00"
    assert "no longer prove anything" in out


def test_score_counts_failures_apart(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path, JOB.replace("models.py:target", "models.py:broken"))
    assert main(["score", ".", "--rows", "4", "-q"]) == 0
    assert row(capsys.readouterr().out, "Write the word.") == ["-", "-", "0", "4", "0"]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [("missing.txt", "missing.txt: no such prompt file"), ("Say {{wrod}}", "no column for {{wrod}}")],
)
def test_score_names_what_is_wrong_with_a_prompt(
    tmp_path: Path, capsys: Capture, prompt: str, said: str
) -> None:
    make_world(tmp_path)
    assert main(["score", ".", "--prompt", prompt, "-q"]) == 2
    assert said in capsys.readouterr().err


def test_validate_says_what_it_understood(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path, JOB.replace("models.py:target", "models.py:interrupted"))
    assert main(["validate"]) == 0
    out = capsys.readouterr().out
    assert "columns  input" in out
    assert "  | user: Write the word." in out
    assert out.splitlines()[-1] == "ok"


def test_the_schema_is_printed_without_a_job(capsys: Capture) -> None:
    assert main(["validate", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["required"] == ["data", "prompt", "target", "reward"]


def test_ls_tells_done_running_and_interrupted_runs_apart(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path)
    assert main(["run", ".", "-q"]) == 0
    assert main(["run", ".", "-q", "--set", "search=seed_only"]) == 0
    assert main(["run", ".", "-q", "--set", "proposer=python/models.py:interrupted"]) == 130
    capsys.readouterr()
    with RunFolder("runs/capitals-003").claimed():
        assert main(["ls"]) == 0
    out = capsys.readouterr().out
    assert row(out, "capitals-001")[:4] == ["done", "1.00", "+1.00,", "p<.001"]
    assert row(out, "capitals-002")[:5] == ["done", "0.00", "keep", "your", "prompt"]
    assert row(out, "capitals-003") == ["running"]
    assert "latest" not in out
    RunFolder("runs/capitals-002").result_file.write_text('{"line": ')
    main(["ls", "runs"])
    out = capsys.readouterr().out
    assert row(out, "capitals-003") == ["interrupted"]
    assert row(out, "capitals-002")[0] == "broken"
    assert row(out, "capitals-001")[0] == "done"


def test_ls_without_runs(tmp_path: Path, capsys: Capture) -> None:
    assert main(["ls", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no runs in {tmp_path}\n"
    assert main(["ls", "nowhere"]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_doctor_tells_versions_and_cures(capsys: Capture) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "python " in out
    assert "pydantic 2." in out
    assert "device" in out


def test_doctor_says_whether_local_models_have_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    from promptopt.cli.doctor import _of_kernels as said
    from promptopt.models import _kernels

    monkeypatch.setattr(_kernels, "loaded", object)
    assert said() == ", kernels compiled"
    monkeypatch.setattr(_kernels, "loaded", lambda: None)
    assert "they need a C compiler" in said()
    monkeypatch.setenv("PROMPTOPT_KERNELS", "off")
    assert "turned off by PROMPTOPT_KERNELS" in said()


def test_doctor_finds_out_what_a_target_can_do(tmp_path: Path, capsys: Capture) -> None:
    job = JOB.replace("proposer: python/models.py:proposer\n", "").replace(
        "python/models.py:target", "embedded/small"
    )
    make_world(tmp_path, job)
    assert main(["doctor", "promptopt.yaml"]) == 0
    out = capsys.readouterr().out
    assert row(out, "target") == ["embedded/small"]
    assert row(out, "  log-probabilities") == ["yes"]
    assert row(out, "  insertion")[0] == "no"
    assert "proposer" not in out


def test_doctor_says_when_nothing_usable_is_answered(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path, JOB.replace("models.py:target", "models.py:broken"))
    assert main(["doctor", "promptopt.yaml"]) == 3
    assert "no usable answer: error" in capsys.readouterr().err


def test_doctor_says_whether_keys_are_there_and_never_what_they_are(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret-of-mine")
    monkeypatch.delenv("OTHER_KEY", raising=False)
    job = JOB.replace(
        "target: python/models.py:target",
        "target: {model: openai/any, base_url: 'http://127.0.0.1:9/v1', api_key_env: OTHER_KEY}",
    )
    make_world(tmp_path, job)
    assert main(["doctor", "promptopt.yaml"]) == 3
    said = capsys.readouterr()
    assert row(said.out, "key") == ["OPENAI_API_KEY", "is", "set"]
    assert row(said.out, "  key") == ["OTHER_KEY", "is", "not", "set"]
    assert row(said.out, "  endpoint") == ["http://127.0.0.1:9/v1"]
    assert "nothing answers there" in said.err
    assert "secret" not in said.out + said.err


def test_doctor_tries_the_other_models_where_one_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path, JOB.replace("models.py:target", "models.py:broken"))
    assert main(["doctor", "promptopt.yaml"]) == 3
    out = capsys.readouterr().out
    assert "no usable answer" in " ".join(row(out, "  problem"))
    assert "'Say hello.'" in out  # the proposer's reply


def test_doctor_tries_every_server_of_a_fleet_and_says_which_is_ill(tmp_path: Path, capsys: Capture) -> None:
    with (
        LoopbackServer(lambda messages, body: "hello", logprobs=hash_logprobs) as able,
        LoopbackServer(lambda messages, body: "hello") as plain,
        LoopbackServer(lambda messages, body: Reply("out of order", status=400)) as ill,
    ):
        urls = [able.url, ill.url, plain.url]
        job = JOB.replace(
            "target: python/models.py:target",
            f"target: {{model: openai/any, endpoints: {json.dumps(urls)}, fleet: llama, api: completions}}",
        )
        make_world(tmp_path, job)
        assert main(["doctor", "promptopt.yaml"]) == 3
        assert min(able.calls, plain.calls, ill.calls) >= 1
    said = capsys.readouterr()
    lines = [line.split(maxsplit=2)[1:] for line in said.out.splitlines() if line.startswith("  server")]
    assert [url for url, _ in lines] == [f"{url}:" for url in urls]
    first, second, third = (text for _, text in lines)
    assert "answers first after" in first
    assert "log-probabilities yes" in first
    assert second.startswith("problem")
    assert "out of order" in second
    assert "answers first after" in third
    assert "log-probabilities no" in third
    assert ill.url in said.err


def test_doctor_tries_a_gpu_and_says_what_it_has() -> None:
    """On a stand-in for torch: the real one is where there is a GPU."""
    from types import SimpleNamespace

    import torch

    cuda = SimpleNamespace(
        get_device_name=lambda index: "Big GPU",
        get_device_capability=lambda index: (9, 0),
        mem_get_info=lambda index: (60 * 2**30, 80 * 2**30),
    )
    fake = SimpleNamespace(cuda=cuda, ones=lambda *size, device, dtype: torch.ones(*size), bfloat16=None)
    assert _gpu(fake, 1) == "cuda:1 Big GPU, 60.0 of 80.0 GiB free, sm_90, works"

    def broken(index: int) -> None:
        raise RuntimeError("CUDA error:\n no kernel image")

    cuda.mem_get_info = broken
    assert _gpu(fake, 0) == "cuda:0 Big GPU: cannot be used (CUDA error: no kernel image)"
