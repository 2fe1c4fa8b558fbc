"""Time `promptopt --help` against importing the libraries it is made of.

Claim: it takes at most twice as long as `python -c "import typer, rich, pydantic"`. The two are run in turn,
so that a busy machine slows both alike; the ratio is that of the medians.

    python benchmarks/startup.py [--rounds 25]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

LIMIT = 2.0
COMMANDS = {
    "help": [sys.executable, "-m", "promptopt.cli", "--help"],
    "imports": [sys.executable, "-c", "import typer, rich, pydantic"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def measure(rounds: int) -> dict[str, list[float]]:
    for command in COMMANDS.values():
        seconds(command)  # the first start compiles and fills the file cache
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    return times


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=25)
    times = measure(parser.parse_args().rounds)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, taken in times.items():
        low, _, high = statistics.quantiles(taken, n=4)
        print(
            f"{name:<8} median {medians[name] * 1000:.0f} ms, "
            f"middle half {low * 1000:.0f} to {high * 1000:.0f} ms"
        )
    ratio = medians["help"] / medians["imports"]
    print(f"promptopt --help takes {ratio:.2f} times the imports; at most {LIMIT} allowed")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
