"""Print what `evaluate` measured, as Markdown: families, requirements, and sizes.

python -m benchmarks.embedded.table results.jsonl [more.jsonl ...] [--default small]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from promptopt.errors import ConfigError, PromptOptError, did_you_mean
from promptopt.models.embedded import EmbeddedModel

from .metrics import mean
from .results import Calibration, Improvement, Record, Rewritten, Worked, read_records
from .summary import Model, Summary, calibration_error, choice_accuracy, read_models, worked
from .verdicts import present, verdicts

Row = Sequence[str]

ABSENT = "-"
FAMILY_COLUMNS = (
    "family",
    "none",
    "vague",
    "misleading",
    "training",
    "human",
    "held-out (min to max)",
    "1 demo",
    "8 demos",
    "8 wrong",
    "APE",
    "graded wordings",
    "best - median",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedded.table", description="Print results.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--default", help="the model to judge")
    parser.add_argument("--split", choices=("test", "dev"), help="test, if there is any record of it")
    options = parser.parse_args(arguments)
    try:
        records = list(read_records(options.files))
        split = options.split or ("test" if any(r.of.split == "test" for r in records) else "dev")
        models = read_models(records, split)
        if not models:
            raise ConfigError("--split", f"the files hold no record of the split {split}")
        print(render(models, _default(models, options.default)))
    except (PromptOptError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, PromptOptError) else 2
    return 0


def render(models: Sequence[Model], default: Model) -> str:
    """Return all tables and verdicts; the models are sorted by size."""
    parts = [
        f"## {default.name} ({default.parameters / 1e6:.1f} M parameters)",
        _measured(default.records),
        family_table(default),
        "### What is asked, what was measured",
        "\n".join(map(str, verdicts(default, models))),
    ]
    tables = {
        "### Families by size (training wording / unseen wording)": size_table(models),
        "### Steps by size (direct / two steps / one call)": steps_table(models),
        "### Calibration by size (expected calibration error / accuracy of the choice)": ece_table(models),
        f"### Rewritten instructions ({default.name})": improvement_table(default),
    }
    parts += [f"{title}\n\n{table}" for title, table in tables.items() if table]
    return "\n\n".join(parts)


def family_table(model: Model) -> str:
    """Return one row a family, and the means."""
    found = model.summaries()
    numbers = [_family_numbers(summary) for summary in found]
    means = [number(_mean(column)) for column in zip(*numbers, strict=True)]
    rows = [[s.family, *map(number, its)] for s, its in zip(found, numbers, strict=True)]
    held_out = FAMILY_COLUMNS.index("held-out (min to max)")
    for row, summary in zip(rows, found, strict=True):
        if each := summary.held_out_each:
            row[held_out] += f" ({min(each):.2f} to {max(each):.2f})"
    return markdown(FAMILY_COLUMNS, [*rows, ["**mean**", *means]])


def size_table(models: Sequence[Model]) -> str:
    """Return accuracies by family and size; empty for one model."""
    if len(models) < 2:
        return ""
    by_model = [{s.family: s for s in model.summaries()} for model in models]

    def pair(summary: Summary | None) -> str:
        if summary is None or summary.training is None:
            return ABSENT
        return f"{number(summary.training)} / {number(summary.unseen)}"

    rows = [[f, *(pair(its.get(f)) for its in by_model)] for f in _families(models)]
    means = [
        f"{number(_mean(s.training for s in its.values()))} / {number(_mean(s.unseen for s in its.values()))}"
        for its in by_model
    ]
    return markdown(["family", *map(_title, models)], [*rows, ["**mean**", *means]])


def steps_table(models: Sequence[Model]) -> str:
    """Return what working in steps does, for the families of several steps; empty if nothing was measured."""
    by_model = [worked(model) for model in models]
    stepped = sorted({name for its in by_model for name in its})
    if not stepped:
        return ""

    def triple(found: Worked | None) -> str:
        if found is None:
            return ABSENT
        return " / ".join(map(number, (found.direct, found.two_steps, found.one_call)))

    rows = [[name, *(triple(its.get(name)) for its in by_model)] for name in stepped]
    return markdown(["family", *map(_title, models)], rows)


def ece_table(models: Sequence[Model]) -> str:
    """Return calibration of the choice among labels by family and size, and of all families' choices."""
    labelled = [
        family for family in _families(models) if any(model.results(Calibration, family) for model in models)
    ]
    if not labelled:
        return ""

    def pair(found: Sequence[Calibration]) -> str:
        return f"{number(calibration_error(found))} / {number(choice_accuracy(found))}" if found else ABSENT

    rows = [[f, *(pair(model.results(Calibration, f)) for model in models)] for f in labelled]
    total = [pair(model.results(Calibration)) for model in models]
    return markdown(["family", *map(_title, models)], [*rows, ["**all choices**", *total]])


def improvement_table(model: Model) -> str:
    """Return what each meta-prompt makes of instructions, over families; empty if it was not measured."""
    groups: dict[tuple[str, str], list[Rewritten]] = {}
    for found in model.results(Improvement):
        for item in found.rewritten:
            groups.setdefault((item.meta, item.level), []).append(item)
    if not groups:
        return ""
    rows = []
    for (meta, level), items in groups.items():
        after = [[score for _, score in item.after] for item in items]
        changed = [text != item.before[0] for item in items for text, _ in item.after]
        numbers = (
            mean([item.before[1] for item in items]),
            mean([mean(scores) for scores in after]),
            mean([max(scores) for scores in after]),
            mean(changed),
        )
        rows.append([meta, level, *map(number, numbers)])
    header = ["meta-prompt", "start", "before", "after, mean", "after, best of the draws", "changed"]
    return markdown(header, rows)


def markdown(header: Row, rows: Iterable[Row]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None) -> str:
    """Format an accuracy."""
    return ABSENT if value is None else f"{value:.2f}"


def _family_numbers(s: Summary) -> list[float | None]:
    demos = s.demonstrations
    shown = [demos.get(min(demos, default=0)), demos.get(max(demos, default=0))]
    wordings = [s.none, s.vague, s.misleading, s.training, s.human, s.held_out]
    return [*wordings, *shown, s.wrong, s.ape, s.between, s.above_median]


def _measured(records: Sequence[Record]) -> str:
    seeds = {record.of.seed for record in records}
    rows = sorted({record.of.n for record in records})
    splits = ", ".join(sorted({record.of.split for record in records}))
    asked = " or ".join(map(str, rows))
    minutes = sum(record.seconds for record in records) / 60
    return (
        f"Rows and wordings of the split {splits}, {asked} rows a cell, {len(seeds)} evaluation seeds; "
        f"{minutes:.0f} minutes of one process. Exact match of the stripped greedy reply, case and all."
    )


def _default(models: Sequence[Model], wanted: str | None) -> Model:
    """Return the model to judge: the one that was asked for, else promptopt's default, else the largest."""
    by_name = {model.name: model for model in models}
    if wanted is not None and wanted not in by_name:
        raise ConfigError("--default", f"no such model: {wanted!r}", do=did_you_mean(wanted, by_name))
    return by_name.get(wanted or EmbeddedModel().name, models[-1])


def _families(models: Sequence[Model]) -> list[str]:
    return sorted({family for model in models for family in model.families})


def _title(model: Model) -> str:
    return f"{model.name} ({model.parameters / 1e6:.1f} M)"


def _mean(values: Iterable[float | None]) -> float | None:
    there = present(values)
    return mean(there) if there else None


if __name__ == "__main__":
    sys.exit(main())
