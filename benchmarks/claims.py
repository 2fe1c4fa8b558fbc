"""Check every claim of the README and print its figures: `python benchmarks/claims.py`.

Each claim is a test; its figures are what the test measured in this run. Selectors and start-up time have
commands of their own: `python -m benchmarks.selection` and startup.py.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).parents[1]

CLAIMS = {
    "kill -9 at 20 random moments: same winner, same scores, nothing bought twice":
        "tests/test_durability.py::test_kill_9_at_20_random_moments_changes_nothing_and_buys_nothing_twice",
    "the spend never passes the cap, at concurrency 64":
        "tests/test_durability.py::test_at_concurrency_64_the_spend_never_passes_the_cap",
    "two endpoints with one model name never answer for each other":
        "tests/test_durability.py::test_two_endpoints_with_one_model_name_never_answer_for_each_other",
    "eight identical concurrent requests make one call":
        "tests/test_durability.py::test_eight_identical_concurrent_requests_make_one_call",
    "n samples are n distinct calls, kept":
        "tests/test_durability.py::test_n_samples_are_n_distinct_calls_that_are_kept",
    "where every prompt is equally good, the verdict says so":
        "tests/test_run.py::test_equally_good_prompts_are_called_no_reliable_improvement",
    "a real OpenAI-compatible server gives the same greedy answers as in process":
        "tests/models/test_serve.py",
    "twelve kinds of bad input end in one clear line and exit code 2": "tests/bad_input",
    "import and --help load no torch, transformers, trl, optuna, openai": "tests/test_house.py",
}  # fmt: skip


def main() -> int:
    failed = 0
    for claim, test in CLAIMS.items():
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-o",
                "junit_family=xunit1",
                f"--junitxml={report}",
                *test.split(),
            ]
            code = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            cases = list(ET.parse(report).iter("testcase")) if report.exists() else []
        figures = [
            p.get("value") for case in cases for p in case.iter("property") if p.get("name") == "figures"
        ]
        held = code.returncode == 0
        failed += not held
        print(f"{'holds' if held else 'FAILS'}  {claim} ({len(cases)} tests)")
        for figure in figures:
            print(f"         {figure}")
        if not held:
            print(code.stdout[-2000:])
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
