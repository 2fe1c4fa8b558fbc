"""Template search: which wording of each slot, which parts, in which order, with what settings, by Optuna.

Sources: Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization" (NeurIPS; TPE); Akiba et al.
2019, "Optuna" (KDD); multi-fidelity as in iterated racing: López-Ibáñez et al. 2016, "The irace Package"
(Operations Research Perspectives 3).

A job says what is open:

    search:
      name: template
      text: |
        {{role}}
        {{task}} {{form}}
        {{rules}}

        {{demonstrations}}

        Input: {{input}}
        {{cue}}
      slots:
        role: ["", You are a careful clerk., You are a teacher.]   # "" leaves the slot and its line out
        task: {alternatives: [Name the capital., What is the capital?], paraphrases: 10, grow: 2}
        form: {alternatives: {word: Answer in one word., json: "Answer as JSON, in at most {{words}} words."}}
        short: {alternatives: [Be brief.], optional: true}
        exact: {alternatives: [Be exact.], when: {form: json}}     # else it is left out
        cue: ["Output:", "Answer:"]
      order:
        rules: [short, exact]               # these slots, one a line, in an order to be found
      parameters:
        words: {low: 1, high: 10}           # any number that a text shows
        demonstrations: {low: 0, high: 4, sets: 3}    # how many search rows are shown, and which of 3 draws
        temperature: {low: 0, high: 1, step: 0.25}    # of the target's replies, as max_tokens
      forbid:
        - {role: "", demonstrations: {at_least: 3}}   # not both
      at_most: {characters: 2000, prompt_tokens: 300} # of an answer; also output_tokens

A slot is a list of texts, or a mapping from labels to texts under `alternatives`; a text may hold input
columns and other slots, so whole layouts can be alternatives (`text: "{{wording}}"`). `{{instruction}}` is
the seed prompt's unless a slot has that name; where other searchers have found good prompts before
(`portfolio`), their instructions are alternatives of it, and they race with the first points.
Without `text`, the seed prompt's layout is used.

A prompt beyond a cap of `at_most` costs a few rows at most, and never wins; what counts is the mean over the
search rows it has met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import ceil
from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import Field

from promptopt import plugins
from promptopt.contracts.searcher import SearchTask, Session
from promptopt.errors import BudgetExhausted, ConfigError, did_you_mean
from promptopt.prompt import Demonstration
from promptopt.records import digest
from promptopt.template import SLOT, Template, fill, slots

from ._demos import demonstration, part_rows
from ._template_database import check_url, opened_storage
from ._template_effects import Tried, as_data, effects, sentences
from ._template_language import read_axes, read_forbidden
from ._template_space import Axis, Slot, Space, allows_any, check_slots
from ._template_study import MARK, Asked, AskTell, SamplerName, has_choice
from ._template_trials import CAPS, Outcome, Trials
from ._text import VARIATION, chat, read_instruction

Positive = Annotated[int, Field(ge=1)]
Sets = Mapping[str, tuple[Demonstration, ...]]


@dataclass(frozen=True)
class TemplateSearch:
    """Search the space of a template by Optuna, each round a race on blocks of shared rows.

    1. Let the proposer add the paraphrases that slots ask for.
    2. Ask the sampler for `batch` points that have not been tried; the first alternatives go first.
    3. Let their prompts race against the best so far (`selector`); prompts beyond a cap are dropped after a
       few rows. Tell the sampler one value for each: its mean reward on the rows it has met, corrected by how
       hard these rows are for the prompts that have met all.
    4. Every `grow_every` rounds, let the proposer reword the best alternative of slots that grow.
    5. After `trials` points, say which slots mattered.

    Attributes:
        text: the user message, or the whole prompt, with slots; a list is a choice of them.
        system: the system message; default: the seed prompt's.
        demonstration: one demonstration; default: the lines of `text` around the input columns.
        separator: what stands between demonstrations; default: the seed prompt's.
        slots: alternatives by slot.
        order: slots to be put in order, by the slot that shows them.
        parameters: numbers by name; `demonstrations`, `temperature` and `max_tokens` are settings.
        forbid: combinations that are never tried.
        at_most: caps on `characters`, `prompt_tokens`, `output_tokens`.
        trials: points to try.
        batch: points of a round.
        sampler: `tpe`, `gp` (Gaussian process), `cmaes` (numbers only; slots by TPE), `nsga2`, `qmc` (Sobol
            points), `random`, or `grid` (every point, in random order).
        startup: points drawn at random before the sampler makes a model.
        selector: who races, by name: `successive_halving`, `paired_race`, `full`, ...
        keep: prompts of each race that meet all rows and stay for the next.
        cost: `prompt_tokens` or `output_tokens`: search the front of reward against it.
        grow_every: rounds between growing.
        pool: share of the search rows kept for showing, if demonstrations are.
        variation: meta-prompt of paraphrases, with the slot `{{instruction}}`.
        temperature: of the proposer.
        max_tokens: most tokens of a paraphrase.
        max_chars: longer ones are dropped.
        storage: database the study is written to when the search ends, for `optuna-dashboard URL`:
            `sqlite:///FILE` or `postgresql://HOST/NAME`. It is a copy: a run is resumed from its journal, and
            workers share one by `promptopt run --study`.
    """

    text: str | list[str] | None = None
    system: str | None = None
    demonstration: str | None = None
    separator: str | None = None
    slots: dict[str, Any] = field(default_factory=dict)
    order: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    forbid: list[dict[str, Any]] = field(default_factory=list)
    at_most: dict[str, Any] = field(default_factory=dict)
    trials: Positive = 100
    batch: Positive = 16
    sampler: SamplerName = "tpe"
    startup: Positive = 24
    selector: str = "successive_halving"
    keep: Positive = 4
    cost: Literal["prompt_tokens", "output_tokens"] | None = None
    grow_every: Positive = 3
    pool: Annotated[float, Field(gt=0, lt=1)] = 0.3
    variation: str = VARIATION
    temperature: Annotated[float, Field(ge=0)] = 1.0
    max_tokens: Positive = 100
    max_chars: Positive = 500
    storage: str | None = None

    def __post_init__(self) -> None:
        """Refuse a template with a mistake in it, before anything is run.

        Raises:
            ConfigError: the first mistake.
        """
        axes = self._axes()
        read_forbidden(self.forbid, axes)
        for name, cap in self.at_most.items():
            if name not in CAPS:
                raise ConfigError("search.at_most", f"cannot cap {name!r}", do=did_you_mean(name, CAPS))
            if isinstance(cap, bool) or not isinstance(cap, int | float) or cap <= 0:
                raise ConfigError(f"search.at_most.{name}", "must be a number above 0", got=cap)
        grows = any(isinstance(axis, Slot) and axis.grow for axis in axes)
        if self.sampler == "grid" and grows:
            raise ConfigError("search.sampler", "a grid cannot grow", do="take `grow` out")
        if self.sampler == "cmaes" and (self.cost or not self.parameters):
            problem = "weighs no cost" if self.cost else "needs numbers under `parameters`"
            raise ConfigError("search.sampler", f"cmaes {problem}", do="choose tpe or nsga2")
        if self.storage is not None:
            check_url(self.storage)

    def check(self, task: SearchTask) -> None:
        """Refuse a template that does not fit the task.

        Raises:
            ConfigError: a slot that nothing fills, an alternative that nothing shows, nothing to choose.
        """
        self._space(task)

    def search(self, session: Session) -> None:
        """Try points until `trials` are done, none is left, or the budget ends; then say what mattered.

        Raises:
            ConfigError: the template does not fit the rows or the seed prompt.
        """
        seed = session.task.seed_prompt
        space = self._space(session.task)
        rows, sets = self._parted(session, space)
        key = session.rng.getrandbits(32)
        if self.storage is not None:
            with opened_storage(self.storage):  # what is wrong with it is said before anything is bought
                pass
        space = self._paraphrased(session, space)
        study = AskTell(
            self.sampler, space, key,
            startup=self.startup, population=self.batch, weighs=self.cost is not None,
        )  # fmt: skip
        trials = Trials(
            session, rows, selector=plugins.build("selectors", self.selector), keep=self.keep, cost=self.cost,
            caps=self.at_most, starts=session.task.starts,
        )  # fmt: skip
        found: list[tuple[Asked, Outcome]] = []
        try:
            for number in range(1, ceil(self.trials / self.batch) + 1):
                asked = study.ask(min(self.batch, self.trials - len(found)))
                if not asked:
                    break
                prompts = [space.compose(one.point, seed, sets) for one in asked]
                outcomes = trials.race(prompts)
                for one, prompt, outcome in zip(asked, prompts, outcomes, strict=True):
                    notes: dict[str, str | float] = {"prompt": prompt.id, "rows": outcome.rows}
                    study.tell(one, outcome.values, outcome.violations, notes)
                    found.append((one, outcome))
                if number % self.grow_every == 0 and len(found) < self.trials:
                    space = self._grown(session, space, study, found)
            trials.finish()
        except BudgetExhausted:
            self._report(session, space, study, found, key)
            raise
        self._report(session, space, study, found, key)

    # --- the space -----------------------------------------------------------------------------------

    def _axes(self) -> tuple[Axis, ...]:
        given = dict(self.slots)
        if isinstance(self.text, list):
            if "text" in given:
                raise ConfigError("search.slots.text", "the name is taken by the list under `text`")
            given["text"] = self.text
        return read_axes(given, self.order, self.parameters)

    def _space(self, task: SearchTask) -> Space:
        """Return the space for a task, checked."""
        seed, columns = task.seed_prompt, task.fields
        own = seed.template
        if own.engine != "plain" and self.text is None:
            raise ConfigError("search.text", "the seed prompt's layout is Jinja", do="write `text` out")
        axes = self._axes()
        text = "{{text}}" if isinstance(self.text, list) else self.text
        layout = Template(
            user=own.user if text is None else text,
            system=_or(self.system, own.system),
            demonstration=_or(self.demonstration, own.demonstration),
            separator=_or(self.separator, own.separator),
        )
        texts = [
            layout.user,
            layout.system,
            *(t for a in axes if isinstance(a, Slot) for t in a.texts.values()),
        ]
        named = {axis.name for axis in axes}
        if "instruction" not in named and any("instruction" in slots(part) for part in texts):
            axes = (*axes, Slot("instruction", _instructions(task)))
        space = Space(
            layout, axes, columns, read_forbidden(self.forbid, axes),
            own_demonstration=text is None or self.demonstration is not None,
        )  # fmt: skip
        check_slots(space)
        for name in ("temperature", "max_tokens"):
            if name in named and name not in {one.name for one in fields(seed.program)}:  # type: ignore[arg-type]
                raise ConfigError(
                    f"search.parameters.{name}", f"the program {seed.program.name} has no {name} of its own",
                    do="use `program: single`, or take it out",
                )  # fmt: skip
        if not has_choice(space) and not any(isinstance(a, Slot) and a.paraphrases for a in axes):
            raise ConfigError(
                "search", "the template leaves nothing to choose", do="give a slot alternatives"
            )
        if not allows_any(space):
            raise ConfigError("search.forbid", "forbids every prompt", do="take a combination out")
        return space

    def _parted(self, session: Session, space: Space) -> tuple[int, Sets]:
        """Return how many rows are scored on, and the draws of rows that are shown: later ones."""
        rows = session.task.rows
        if "demonstrations" not in space.by_name:
            return len(rows), {}
        most = int(space.by_name["demonstrations"].high)  # type: ignore[union-attr]
        parted = part_rows(rows, self.pool, most, "search.parameters.demonstrations")
        if len(parted.pool) < most:
            raise ConfigError(
                "search.parameters.demonstrations",
                f"only {len(parted.pool)} search rows can be shown",
                got=most,
                do="lower `high`, raise `pool`, or give more rows with answers",
            )
        labels = space.by_name.get("demonstrations.set")
        names = list(labels.texts) if isinstance(labels, Slot) else ["1"]
        draws = {name: session.rng.sample(parted.pool, most) for name in names}
        return parted.scored, {name: tuple(map(demonstration, rows)) for name, rows in draws.items()}

    # --- more alternatives ---------------------------------------------------------------------------

    def _paraphrased(self, session: Session, space: Space) -> Space:
        """Return the space with the paraphrases its slots ask for."""
        for axis in space.axes:
            if isinstance(axis, Slot) and axis.paraphrases:
                texts = [text for text in axis.texts.values() if text and not slots(text)]
                space = space.with_axis(self._reworded(session, axis, texts, axis.paraphrases))
        return space

    def _grown(
        self, session: Session, space: Space, study: AskTell, found: Sequence[tuple[Asked, Outcome]]
    ) -> Space:
        """Return the space with new wordings of the best alternatives, and let the study know."""
        grown = space
        for axis in space.axes:
            if isinstance(axis, Slot) and axis.grow and (best := _best_text(axis, found)):
                grown = grown.with_axis(self._reworded(session, axis, [best], axis.grow))
        if grown != space:
            study.grow(grown)
        return grown

    def _reworded(self, session: Session, axis: Slot, texts: Sequence[str], wanted: int) -> Slot:
        """Return the slot with up to `wanted` paraphrases of these texts, in turns."""
        if not texts:
            return axis
        drawn = session.propose(
            [chat(fill(self.variation, {"instruction": text})) for text in texts],
            2 * ceil(wanted / len(texts)),  # some say what is there already, or cannot be read
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )
        read = [[read_instruction(reply, self.max_chars) for reply in replies] for replies in drawn]
        in_turns = [its[n] for n in range(max(map(len, read), default=0)) for its in read if n < len(its)]
        known = set(axis.texts.values())
        fresh = [
            text for text in dict.fromkeys(in_turns) if text and text not in known and not SLOT.search(text)
        ]
        if not fresh:
            session.note(f"slot {axis.name}: the proposer wrote nothing new that can be used")
        return axis.with_texts(fresh[:wanted])

    # --- the result ----------------------------------------------------------------------------------

    def _report(
        self,
        session: Session,
        space: Space,
        study: AskTell,
        found: Sequence[tuple[Asked, Outcome]],
        key: int,
    ) -> None:
        """Say which choices mattered, and write the study where it was asked for."""
        tried = [Tried(one.point, o.values[0], o.rows) for one, o in found if o.values and o.rows]
        mattered = effects(space, tried)
        if mattered is None:
            session.report(f"template: {len(tried)} prompts are too few to tell which slot mattered")
        else:
            first, *more = sentences(mattered)
            session.report(f"template: {first}", as_data(mattered, study.importances()))
            for line in more:
                session.report(line)
        beyond = sum(not outcome.fits for _, outcome in found)
        if beyond:
            session.report(f"template: {beyond} of {len(found)} prompts were beyond a cap")
        if self.storage is not None:
            name = f"{MARK} template {digest([key, session.task.seed_prompt.id, repr(self)])}"
            study.export(self.storage, name)
            session.report(f"template: the study is in {self.storage} as {name!r}")


def _instructions(task: SearchTask) -> dict[str, str]:
    """Return the seed prompt's instruction, and those of good prompts found elsewhere, by label."""
    own = task.seed_prompt.instruction
    others = dict.fromkeys(prompt.instruction for prompt in task.starts)
    return {
        "the seed prompt's": own,
        **{text: text for text in others if text and text != own and not SLOT.search(text)},
    }


def _or(given: str | None, default: str) -> str:
    return default if given is None else given


def _best_text(axis: Slot, found: Sequence[tuple[Asked, Outcome]]) -> str | None:
    """Return the text of the alternative with the best mean value; a mean of few counts for less."""
    values = [
        (str(one.point[axis.name]), o.values[0]) for one, o in found if o.values and axis.name in one.point
    ]
    if not values:
        return None
    middle = fmean(value for _, value in values)
    gains: dict[str, list[float]] = {}
    for label, value in values:
        gains.setdefault(label, []).append(value - middle)
    usable = [label for label in gains if axis.texts[label] and not slots(axis.texts[label])]
    best = max(usable, key=lambda label: sum(gains[label]) / (len(gains[label]) + 2), default=None)
    return None if best is None else axis.texts[best]
