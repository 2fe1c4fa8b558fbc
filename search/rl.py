"""RL: a language model writes prompts, the target answers, the score is the reward, and the writer learns.

Sources: Deng et al. 2022, "RLPrompt" (arXiv 2205.12548); Kong et al. 2024, "PRewrite" (arXiv 2401.08189);
Kwon et al. 2024, "StablePrompt" (arXiv 2410.07652); trained by GRPO or RLOO (see `_rl_options.Training`).
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from promptopt import plugins
from promptopt.contracts.model import LocalWeights
from promptopt.contracts.searcher import SearchTask, Session
from promptopt.errors import BudgetExhausted, ConfigError, MissingExtra, ModelError
from promptopt.proof.stats import format_number, paired_interval
from promptopt.records import Example, digest

from ._choice import choose, starting
from ._fitness import fitness
from ._rl_asks import DEFAULTS, Ask, Asker, Form
from ._rl_curves import Curves
from ._rl_generator import Card, propose
from ._rl_judge import Archive, Judge
from ._rl_options import Shaping, Training
from ._text import check_has_place, unique

if TYPE_CHECKING:  # it imports torch, transformers and trl
    from ._rl_trainer import Generator

Positive = Annotated[int, Field(ge=1)]
HELD = 4
"""One in so many search rows is kept from a conditional generator's training, to see what it learned."""

DRAWS = 4
"""Texts drawn for each of those rows, before training and after."""


@dataclass(frozen=True)
class RL:
    """A prompt generator trained on the task's reward.

    Each step asks the generator `groups` times for `group_size` proposals. All of a step meet the same search
    rows, the next step's meet other ones. A proposal's reward is its mean score, shaped (`Shaping`); texts
    that cannot be used, quote a search row or talk a judge into scores earn less than any other. GRPO
    compares the proposals of a group with each other (`Training`).

    What is sought is a prompt, so the product is the archive of everything scored, not the last policy: the
    best by shrunken mean go to the run's selector, with the prompts to beat. The trained generator is kept in
    the run's folder, too (`work/rl-*/generator`): `promptopt propose` asks it, and other searchers take it as
    `proposer: hf/FOLDER`.

    In the conditional form the generator reads one input and writes a prompt for it alone. What it learned is
    measured on a quarter of the search rows it was not trained on, before and after; the run's winner is
    still one prompt for all inputs.

    Training stops by itself when all groups score alike for long (collapse), when the mean score no longer
    rises (plateau), or when its share of the calls is spent. It survives a kill: what was scored is in the
    run's journal, the generator in TRL's checkpoints, and a resumed run ends in the same archive and weights.

    In a job file:

        search:
          name: rl
          steps: 40
          training: {learning_rate: 4.0e-4, beta: 0.15}
          shaping: {length_penalty: 0.1}

    Attributes:
        generator: the model that is trained, of those with weights on this machine: `embedded/…`, `hf/…`.
        form: `scratch` sees rows only, `rewrite` the prompt to beat and its score as well (PRewrite),
            `conditional` the input it writes for.
        meta_prompt: what the generator is asked; None is the form's own (`_rl_asks`).
        steps: of training, at most.
        groups: asks a step, each with rows drawn anew; a single one would be learned by heart.
        group_size: proposals an ask.
        rows: search rows a step's proposals are scored on.
        demos: search rows shown in an ask.
        share: of the calls that are left, what training may take; the rest is for choosing.
        shortlist: how many of the archive's best the selector compares.
        keep: how many of those are scored on every search row.
        temperature: of the generator.
        max_tokens: most tokens of a proposal.
        max_chars: longer proposals cannot be used.
        training: how the generator learns.
        shaping: how rewards are shaped.
    """

    trains: ClassVar[str] = "a prompt generator"

    generator: str = "embedded/small"
    form: Form = "scratch"
    meta_prompt: str | None = None
    steps: Positive = 60
    groups: Positive = 3
    group_size: Annotated[int, Field(ge=2)] = 8
    rows: Positive = 6
    demos: Positive = 5
    share: Annotated[float, Field(gt=0, le=1)] = 0.7
    shortlist: Positive = 20
    keep: Positive = 5
    temperature: Annotated[float, Field(gt=0)] = 1.0
    max_tokens: Positive = 48
    max_chars: Positive = 500
    training: Training = field(default_factory=Training)
    shaping: Shaping = field(default_factory=Shaping)

    @property
    def weights(self) -> tuple[str]:
        """The model that is trained (see `contracts.searcher.ReadsWeights`)."""
        return (self.generator,)

    def search(self, session: Session) -> None:
        """Train the generator, then choose among all that it wrote.

        Raises:
            ConfigError: the generator has no weights here, the prompt no place for an instruction, or no row
                has an answer to show.
            TemplateError: the meta-prompt lacks what the form needs.
            MissingExtra: trl is not installed.
            ModelError: nothing that the generator wrote can be used.
        """
        check_has_place(session.task.seed_prompt, "searcher rl")
        (before,) = session.score([session.task.seed_prompt])
        asker = Asker(session.task, self.form, self._asked, self.demos, fitness(before))
        asker.check()
        run = _Run(self, session, asker)
        run.train()
        archive = run.judge.archive
        if count := len(run.judge.suspects):
            session.report(
                f"rl: {count} proposal{'s' * (count > 1)} talked the judge into scores, and were left out",
                {"suspects": sorted(run.judge.suspects)},
            )
        if run.curves.points and not archive.prompts:
            raise ModelError(
                "searcher rl",
                f"none of the generator's texts in {len(run.curves.points)} steps can be used",
                do="try another generator or meta-prompt, or other max_tokens or max_chars",
            )
        pool = unique([*starting(session), *archive.best(self.shortlist)])
        session.score(choose(session, pool, self.keep))

    @staticmethod
    def form_of(folder: Path) -> Form:
        """Return the form of a trained generator."""
        return Card.load(folder).form

    @staticmethod
    def propose(
        folder: Path, task: SearchTask, rows: Sequence[Example], n: int, *, seed: int, score: float
    ) -> list[list[str]]:
        """Return different prompts that a trained generator writes (see `_rl_generator.propose`)."""
        return propose(folder, task, rows, n, seed=seed, score=score)

    @property
    def _asked(self) -> str:
        return DEFAULTS[self.form] if self.meta_prompt is None else self.meta_prompt


class _Run:
    """One training run: its asks, its judge, its folder."""

    def __init__(self, rl: RL, session: Session, asker: Asker) -> None:
        """Draw all that is random, so that a resumed run draws the same."""
        self.rl, self.session, self.asker = rl, session, asker
        rng = session.rng
        self.seed = rng.getrandbits(31)
        # By the options and the seed: a portfolio may train several generators in one folder.
        self.folder = session.workdir / f"rl-{digest([asdict(rl), self.seed], 8)}"
        rows = session.task.rows
        held = len(rows) // HELD if rl.form == "conditional" else 0
        self.held: Sequence[Example] = rows[len(rows) - held :]
        trained = rows[: len(rows) - held]
        self.asks = asker.draw(rng, rl.steps, rl.groups, trained)
        self.judge = Judge(session, rl.shaping, trained, rl.rows, rl.max_chars)
        self.curves = Curves(self.folder, rl.training, rl.groups * rl.group_size)

    def train(self) -> None:
        """Train to the end of the training's share, the plateau or the collapse; keep the generator."""
        trainer = _trainer()
        training = self.rl.training
        self.folder.mkdir(parents=True, exist_ok=True)
        with trainer.own_chance(training.threads):
            generator = trainer.Generator(
                _weights(self.rl.generator),
                training,
                trainer.Sampling(self.rl.group_size, self.rl.temperature, self.rl.max_tokens),
                self.folder,
                self.seed,
            )
            before = self._held_scores(generator)
            with self._kept(generator):
                calls = self.session.remaining.calls
                share = nullcontext() if calls is None else self.session.limit(int(calls * self.rl.share))
                with share:
                    self._replay(generator)
                    generator.learn(self.asks, self.rl.groups, self._judge, self.curves.learned)
            if self.held:
                self._compare(before, self._held_scores(generator))

    @contextmanager
    def _kept(self, generator: Generator) -> Iterator[None]:
        """Keep the generator and tell the curves, also when the budget ends."""
        try:
            yield
        except BudgetExhausted:
            self._keep(generator)
            raise
        self._keep(generator)

    # --- steps ---------------------------------------------------------------------------------------

    def _replay(self, generator: Generator) -> None:
        """Score again what the checkpoint has behind it: the journal answers, and the archive is whole again.

        Where the rewards are not those that the generator learned from (failed cells that were asked again,
        say), the checkpoints are of no use.
        """
        found = generator.checkpoint()
        steps = 0 if found is None else found[1] // self.rl.training.iterations
        for step, texts, rewards in self.curves.begin(steps):
            judged = self.judge.judge(step, self._group_asks(step), texts)
            if list(judged.rewards) != rewards:
                self.session.note(f"rl: step {step} is worth something else now; training starts again")
                self._start_again()
                return

    def _start_again(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.judge = replace(self.judge, archive=Archive(), suspects=set())
        list(self.curves.begin(0))

    def _judge(self, step: int, texts: Sequence[str | None]) -> Sequence[float | None]:
        judged = self.judge.judge(step, self._group_asks(step), texts)
        self.curves.judged(step, texts, judged)
        return judged.rewards

    def _group_asks(self, step: int) -> Sequence[Ask]:
        groups = self.rl.groups
        return self.asks[step * groups : (step + 1) * groups]

    # --- what is left ----------------------------------------------------------------------------------

    def _keep(self, generator: Generator) -> None:
        self.curves.tell(self.session, self.rl.training.algorithm, self.rl.steps)
        folder = self.folder / "generator"
        generator.export(folder)
        scores = [point["score"] for point in self.curves.points[-10:]]
        rl = self.rl
        Card(
            base=rl.generator,
            form=rl.form,
            meta_prompt=self.asker.meta_prompt,
            demos=rl.demos,
            temperature=rl.temperature,
            max_tokens=rl.max_tokens,
            max_chars=rl.max_chars,
            steps=len(self.curves.points),
            algorithm=rl.training.algorithm,
            reward=fmean(scores) if scores else 0.0,
            threads=rl.training.threads,
        ).save(folder)

    def _held_scores(self, generator: Generator) -> list[float]:
        """Return what the generator's prompts score on each row that it is not trained on."""
        if not self.held:
            return []
        rng = random.Random(f"held rows {self.seed}")
        asks = [self.asker.ask(rng, row) for row in self.held]
        drawn = generator.write(asks, DRAWS)
        return [self.judge.worth(ask, texts) for ask, texts in zip(asks, drawn, strict=True)]

    def _compare(self, before: Sequence[float], after: Sequence[float]) -> None:
        gains = [new - old for old, new in zip(before, after, strict=True)]
        interval = paired_interval(gains, seed=self.seed)
        self.session.report(
            f"rl: a prompt for each input scores {format_number(fmean(after))} on {len(gains)} rows of no "
            f"training, untrained {format_number(fmean(before))}; difference "
            f"{format_number(fmean(gains), sign=True)} {interval}",
            {"held_before": list(before), "held_after": list(after), "rows": [row.id for row in self.held]},
        )


def _weights(name: str) -> Path:
    provider, _, rest = name.partition("/")
    model = plugins.build("models", provider, {"name": rest} if rest else {})
    if not isinstance(model, LocalWeights):
        raise ConfigError(
            "searcher rl.generator",
            "has no weights on this machine to train",
            got=name,
            do="use embedded/… or hf/…",
        )
    return model.folder


def _trainer() -> Any:
    try:
        from . import _rl_trainer
    except ImportError as error:
        raise MissingExtra("searcher rl", error.name or "trl", "train") from error
    return _rl_trainer
