"""Throw broken and hostile texts at everything that reads what others wrote.

    python -m tests.fuzz                          # 1,000,000 inputs, minutes
    python -m tests.fuzz --inputs 20000 --only yaml,jinja --seed 7
    python -m tests.fuzz --engine atheris --only replies     # guided by coverage; needs `pip install atheris`

Texts are made of known good ones by cutting, repeating, splicing and inserting what parsers stumble over;
one in a few hundred is long. A reader may refuse a text with the error it documents. Any other exception is
a crash, and more than a second of CPU time is a runaway; both are printed with the input, and the exit code
is 1.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from promptopt.deadline import Deadline
from tests.fuzz_targets import SPICE, TARGETS

SLOW, STUCK = 1.0, 30.0
"""CPU seconds for an input until it is a runaway; seconds of the wall clock until it is given up."""
LONG = 400
"""One in so many inputs is long."""
LONGEST = 200_000


@dataclass(frozen=True)
class Finding:
    """An input that a target did not survive."""

    target: str
    problem: str
    text: str

    def __str__(self) -> str:
        """Show it in a line."""
        shown = ascii(self.text)
        if len(shown) > 300:
            shown = f"{shown[:200]}… ({len(self.text):,} characters) …{shown[-60:]}"
        return f"{self.target}: {self.problem}: {shown}"


@dataclass
class Report:
    """How many inputs each target got, and what was found."""

    inputs: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def total(self) -> int:
        """All inputs."""
        return sum(self.inputs.values())


def fuzz(
    inputs: int,
    seed: int,
    only: Sequence[str] = (),
    most: int = 20,
    say: Callable[[object], object] = lambda _: None,
) -> Report:
    """Try so many inputs, shared among the targets; stop at `most` findings, each told at once."""
    report = Report()
    names = [name for name in TARGETS if not only or name in only]
    for place, name in enumerate(names):
        target = TARGETS[name]
        share = inputs * (place + 1) // len(names) - inputs * place // len(names)
        within = Deadline(STUCK)
        report.inputs[name] = 0
        for text in texts(random.Random(f"{seed} {name}"), target.seeds, share):
            report.inputs[name] += 1
            if (finding := attempt(name, target.read, text, within, report)) is not None:
                report.findings.append(finding)
                say(finding)
                if len(report.findings) >= most:
                    return report
        say(f"{name}: {report.inputs[name]:,} inputs")
    return report


def attempt(
    name: str, read: Callable[[str], object], text: str, within: Deadline, report: Report
) -> Finding | None:
    """Let a target read a text."""
    begun = time.process_time()
    try:
        within(read, text)
    except Exception as error:
        return Finding(name, f"{type(error).__name__}: {error}"[:200], text)
    taken = time.process_time() - begun
    report.slowest = max(report.slowest, taken)
    return Finding(name, f"took {taken:.1f} s", text) if taken > SLOW else None


def texts(chance: random.Random, seeds: Sequence[str], n: int) -> Iterator[str]:
    """Make n texts, the seeds first."""
    for number in range(n):
        if number < len(seeds):
            yield seeds[number]
        elif chance.randrange(LONG) == 0:
            yield long_text(chance, seeds)
        else:
            yield mutated(chance, seeds)


def mutated(chance: random.Random, seeds: Sequence[str]) -> str:
    """Change a seed in one to eight places."""
    text = chance.choice(seeds)
    for _ in range(chance.randint(1, 8)):
        at = chance.randint(0, len(text))
        end = min(len(text), at + chance.randint(0, 12))
        match chance.randrange(6):
            case 0:
                text = text[:at] + chance.choice(SPICE) + text[at:]
            case 1:
                text = text[:at] + text[end:]
            case 2:
                text = text[:end] + text[at:end] * chance.randint(1, 4) + text[end:]
            case 3:
                other = chance.choice(seeds)
                text = text[:at] + other[chance.randint(0, len(other)) :]
            case 4:
                text = (
                    text[:at]
                    + chr(chance.choice((chance.randrange(128), chance.randrange(0x110000))))
                    + text[end:]
                )
            case _:
                text = text[end:] + text[:at]
    return text[:2000]


def long_text(chance: random.Random, seeds: Sequence[str]) -> str:
    """Repeat something short many times, between parts of a seed."""
    seed = chance.choice(seeds)
    part = chance.choice(
        (chance.choice(SPICE), mutated(chance, seeds)[: chance.randint(1, 20)], "a", " ", "\n")
    )
    size = chance.choice((2_000, 20_000, LONGEST))
    at = chance.randint(0, len(seed))
    return (
        seed[:at] + part * (size // max(1, len(part))) + chance.choice(("", seed[at:], chance.choice(SPICE)))
    )


def run_atheris(name: str, inputs: int, seed: int) -> None:
    """Let libFuzzer choose the inputs by the coverage of our own modules; it ends the process."""
    import atheris

    for module in [key for key in sys.modules if key.startswith(("promptopt", "tests.fuzz_targets"))]:
        del sys.modules[module]  # they are imported again, this time watched
    with atheris.instrument_imports(include=["promptopt"], enable_loader_override=False):
        target = importlib.import_module("tests.fuzz_targets").TARGETS[name]

    def one(data: bytes) -> None:
        target.read(atheris.FuzzedDataProvider(data).ConsumeUnicode(len(data)))

    options = [
        sys.argv[0],
        f"-runs={inputs}",
        f"-seed={seed + 1}",
        "-timeout=10",
        "-max_len=4096",
        "-verbosity=0",
    ]
    atheris.Setup(options, one)
    atheris.Fuzz()


def counts(of: Mapping[str, int]) -> str:
    """Name the targets with their inputs."""
    return ", ".join(f"{name} {n:,}" for name, n in of.items())


def parser() -> argparse.ArgumentParser:
    """Make the reader of the command line."""
    made = argparse.ArgumentParser(description="Fuzz what reads other people's texts.")
    made.add_argument("--inputs", type=int, default=1_000_000)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--only", default="", help=f"some of {', '.join(TARGETS)}")
    made.add_argument("--engine", choices=("own", "atheris"), default="own")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz, and print what was found."""
    options = parser().parse_args(argv)
    only = [name for name in options.only.split(",") if name]
    if unknown := set(only) - set(TARGETS):
        parser().error(f"no target {sorted(unknown)[0]!r}; choose from {', '.join(TARGETS)}")
    if options.engine == "atheris":
        run_atheris(only[0] if only else "replies", options.inputs, options.seed)
        return 0
    begun = time.monotonic()
    report = fuzz(options.inputs, options.seed, only, say=lambda told: print(told, flush=True))
    print(
        f"{report.total:,} inputs ({counts(report.inputs)}), {len(report.findings)} not survived, "
        f"slowest {report.slowest:.2f} s, {time.monotonic() - begun:.0f} s in all"
    )
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
