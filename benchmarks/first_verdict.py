"""Time a new user's way to a first verdict: a CSV, the embedded model, three commands.

    pip install "promptopt[local]" -c constraints.txt
    promptopt init --data words.csv --prompt "Second letter of the word."
    promptopt run promptopt.yaml

The CSV has the 230 words of the demo and their second letters. Everything happens in a folder and a virtual
environment of its own; what is printed is what each command took, and the verdict's line. Seconds are this
machine's; most of them go into installing.

    python -m benchmarks.first_verdict [--installed] [--calls 5000]
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "Second letter of the word."


def write_rows(file: Path) -> None:
    """Write the demo's words as a CSV that knows nothing of splits."""
    lines = files("promptopt.demo").joinpath("rows.jsonl").read_text(encoding="utf-8").splitlines()
    with file.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(["word", "answer"])
        table.writerows((row["input"], row["output"]) for row in map(json.loads, lines))


def install(folder: Path) -> tuple[float, Path]:
    """Make an environment, install promptopt into it; return the seconds of installing, and its programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wanted = [f"{ROOT}[local]", "--constraint", str(ROOT / "constraints.txt")]
    return timed([*pip, *wanted], ROOT)[0], python


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Run a command; return the seconds it took, and the last line it printed."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - start, (done.stdout.splitlines() or [""])[-1]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--installed", action="store_true", help="use this Python's promptopt")
    parser.add_argument("--calls", type=int, default=5000, help="cap of the run; 5000 is what init writes")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="first-verdict-") as name:
        folder = Path(name)
        write_rows(folder / "words.csv")
        seconds, python = (0.0, Path(sys.executable)) if given.installed else install(folder / "venv")
        if not given.installed:
            print(f"{seconds:7.1f} s  pip install promptopt[local]", flush=True)
        promptopt = [str(python), "-m", "promptopt.cli"]
        commands = [
            ["init", "--data", "words.csv", "--prompt", PROMPT],
            ["run", "promptopt.yaml", "--set", f"budget.calls={given.calls}"],
        ]
        line = ""
        for command in commands:
            taken, line = timed([*promptopt, *command], folder)
            seconds += taken
            print(f"{taken:7.1f} s  promptopt {command[0]}", flush=True)
        print(f"{seconds:7.1f} s  to the verdict: {line}")
        return int(not line.startswith("baseline"))


if __name__ == "__main__":
    sys.exit(main())
