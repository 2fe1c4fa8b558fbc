"""Specialists: the model itself is changed for one task, as a yardstick for prompts of words and of vectors.

Sources: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685); Liu et al.
2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning" (IA3, arXiv
2205.05638); Ben Zaken et al. 2022, "BitFit" (arXiv 2106.10199); Houlsby et al. 2019, "Parameter-Efficient
Transfer Learning for NLP" (bottlenecks, arXiv 1902.00751).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from promptopt.contracts.model import LanguageModel
from promptopt.contracts.searcher import Session

from ._choice import best_start
from ._fitting import Job, affordable, check_gradients, fit, part, training_rows
from ._specialist_methods import ChangedModel
from ._training_options import Positive, TrainingOptions

RATES = {"lora": 0.003, "ia3": 0.03, "bitfit": 0.01, "bottleneck": 0.003, "full": 0.0003}


@dataclass(frozen=True)
class Specialist(TrainingOptions):
    """LoRA, IA3, BitFit, bottleneck adapters or full fine-tuning, on a part of the search rows.

    Rows, validation, budget and checkpoints are those of `soft`, and so is the verdict: the best weights so
    far, with the prompt they were trained under, are a candidate like any. What they cost is said in bytes
    stored for the task; a hundred tasks need a hundred of them beside one base model.

    How it is trained is in `TrainingOptions`.

    Attributes:
        method: `lora` on all linear maps of the layers, `ia3` on keys, values and the inner layer, `bitfit`
            on the biases of all linear maps (added where there are none), `bottleneck` behind attention and
            feed-forward layers, `full` on everything.
        width: rank of LoRA, inner width of a bottleneck.
        alpha: of LoRA: its product is scaled by alpha / width.
    """

    method: Literal["lora", "ia3", "bitfit", "bottleneck", "full"] = "lora"
    width: Positive = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0

    def check_target(self, target: LanguageModel) -> None:
        """Raise UnsupportedError unless the target runs in this process."""
        check_gradients("searcher specialist", target)

    def search(self, session: Session) -> None:
        """Train, keep the best, score it on every search row.

        Raises:
            ConfigError: there is nothing to train on, or the prompt makes more than one call.
            DataError: a row cannot be trained on.
            UnsupportedError: the target gives no gradients, or the method does not suit it.
        """
        model = session.gradients()
        base = replace(best_start(session), adapter=None)
        rows = part(session, self.validation, "searcher specialist", self.rows)
        taught = training_rows(session, model, base, rows.training, "searcher specialist")
        schedule = self.schedule(RATES[self.method])
        steps = affordable(session, schedule, taught, self.every, rows.validation, len(session.task.rows))
        if not steps:
            session.note("specialist: the budget has no room to train in")
            return
        seed = session.rng.getrandbits(32)
        scale = self.alpha / self.width
        with model.computing():
            tuned = ChangedModel(model, self.method, width=self.width, scale=scale, seed=seed)
        options = {"scale": scale, "width": self.width} if self.method == "lora" else None
        fitted = fit(
            session,
            Job(
                "specialist",
                self.method,
                base,
                tuned,
                taught,
                replace(schedule, steps=steps),
                self.every,
                self.patience,
                rows.validation,
                seed,
                options=options,
            ),
        )
        (scored,) = session.score([fitted.prompt])
        about = "" if fitted.prompt.adapter is None else fitted.prompt.adapter.label
        session.report(
            f"specialist: {about} on {len(rows.training)} rows, {fitted.tokens:,} tokens forward and "
            f"backward; {scored.mean:.3f} on the search rows",
            fitted.data,
        )
