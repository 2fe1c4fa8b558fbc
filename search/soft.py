"""Soft prompts: vectors in front of the prompt, trained on the search rows, judged like any other prompt.

Sources: Lester, Al-Rfou and Constant 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning" (arXiv
2104.08691); Liu et al. 2021, "GPT Understands, Too" (P-tuning, arXiv 2103.10385); Li and Liang 2021,
"Prefix-Tuning" (arXiv 2101.00190).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from promptopt.contracts.model import GradientModel, LanguageModel
from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError
from promptopt.peft_format import prefix_sizes
from promptopt.prompt import Prompt

from ._choice import best_start
from ._fitting import (
    Fitted,
    Job,
    Rows,
    affordable,
    check_gradients,
    fit,
    nearest_tokens,
    part,
    special_tokens,
    training_rows,
)
from ._soft_methods import Method, embed_random, embed_text, embed_vocabulary, make_soft_prompt
from ._training_options import Positive, TrainingOptions, Whole

UNLIMITED = 1 << 62

RATES = {"prompt_tuning": 0.3, "p_tuning": 0.01, "prefix_tuning": 0.003}
"""Learning rates. That of prompt tuning is the paper's (section 2), here in units of the root mean square of
the vectors it starts from; the networks of the others want much less."""
LENGTHS = (1, 2, 5, 10, 20)
"""Numbers of vectors that trials choose from (prompt tuning, figure 3a, up to what search rows can teach)."""


@dataclass(frozen=True)
class Soft(TrainingOptions):
    """Prompt tuning, P-tuning or prefix tuning on a part of the search rows.

    The model stays as it is; only what stands in front of the prompt is trained, to make the answers likelier
    (or the right options among the options, where the reward compares them). From time to time the soft
    prompt is scored on search rows that it is not trained on, by the task's own reward and through the same
    engine as every prompt; the best of these is the result, and training stops when none has been better for
    a while. Select rows are not looked at: they are to choose between this prompt and prompts of words.

    A pass of a row forward and backward counts as a call, and its tokens as tokens, of the role `trainer`;
    steps are fewer where the budget has no room for them. A training that was killed goes on from its last
    checkpoint and ends with the same weights, bit by bit, on the same machine and number of threads.

    How it is trained is in `TrainingOptions`.

    Attributes:
        method: `prompt_tuning` trains vectors, `p_tuning` vectors behind a network that they share,
            `prefix_tuning` keys and values of every layer.
        vectors: virtual tokens.
        init: what they start from: `random` numbers with the spread of the embeddings, tokens drawn from the
            `vocabulary`, the tokens of a `text`, or those of the `best` prompt to start from: the seed
            prompt's, or in a portfolio the best that other searchers have found.
        text: what `init: text` starts from; empty: the seed prompt's instruction.
        keep: leave the instruction in the prompt, behind the vectors; otherwise they replace it.
        recompute: keep no activations of the layers, compute them again on the way back: slower, but less
            memory (not with prefix tuning).
        trials: try so many learning rates and numbers of vectors by Optuna's TPE, and keep the best; 0: none.
        words: also score the text of the tokens that are nearest to the vectors.
    """

    method: Method = "prompt_tuning"
    vectors: Positive = 10
    init: Literal["random", "vocabulary", "text", "best"] = "best"
    text: str = ""
    keep: bool = True
    recompute: bool = False
    trials: Whole = 0
    words: bool = True

    def check_target(self, target: LanguageModel) -> None:
        """Raise UnsupportedError unless the target runs in this process."""
        check_gradients("searcher soft", target)

    def search(self, session: Session) -> None:
        """Train, keep the best, score it and its words on every search row.

        Raises:
            ConfigError: there is nothing to train on or to start from, or options do not go together.
            DataError: a row cannot be trained on.
            UnsupportedError: the target gives no gradients, or the method does not suit it.
        """
        if self.recompute and self.method == "prefix_tuning":
            raise ConfigError("searcher soft.recompute", "does not go with prefix tuning", do="leave it out")
        base = self._base(session)
        rows = part(session, self.validation, "searcher soft", self.rows)
        fitted = self._try(session, base, rows) if self.trials else self._fit(session, base, rows)
        if fitted is None:
            session.note("soft: the budget has no room to train in")
            return
        (scored,) = session.score([fitted.prompt])
        about = "" if fitted.prompt.adapter is None else fitted.prompt.adapter.label
        session.report(
            f"soft: {about} on {len(rows.training)} rows, {fitted.tokens:,} tokens forward and backward; "
            f"{scored.mean:.3f} on the search rows",
            fitted.data,
        )
        if self.words and self.method != "prefix_tuning" and "instruction" in session.task.parts:
            self._put_into_words(session, base, fitted.prompt, scored.mean)

    def _base(self, session: Session) -> Prompt:
        """Return the prompt that the vectors stand in front of."""
        base = best_start(session) if self.init == "best" else session.task.seed_prompt
        base = replace(base, adapter=None)
        if self.keep:
            return base
        if "instruction" not in session.task.parts:
            raise ConfigError("searcher soft.keep", "the instruction is fixed", do="keep it, or optimize it")
        return replace(base, instruction="", parents=(base.id,))

    def _fit(
        self,
        session: Session,
        base: Prompt,
        rows: Rows,
        vectors: int | None = None,
        rate: float | None = None,
    ) -> Fitted | None:
        """Train one soft prompt; None when the budget has no room for a step."""
        model = session.gradients()
        taught = training_rows(session, model, base, rows.training, "searcher soft")
        schedule = self.schedule(RATES[self.method])
        if rate is not None:
            schedule = replace(schedule, learning_rate=rate)
        steps = affordable(session, schedule, taught, self.every, rows.validation, len(session.task.rows))
        if not steps:
            return None
        count = vectors or self.vectors
        seed = session.rng.getrandbits(32)
        with model.computing():
            start = self._start(session, model, base, count, seed)
            tuned = make_soft_prompt(self.method, model, start, seed=seed, recompute=self.recompute)
        job = Job(
            "soft",
            self.method,
            base,
            tuned,
            taught,
            replace(schedule, steps=steps),
            self.every,
            self.patience,
            rows.validation,
            seed,
            vectors=count,
            options=prefix_sizes(model) if self.method == "prefix_tuning" else None,
        )
        return fit(session, job)

    def _start(
        self, session: Session, model: GradientModel, base: Prompt, count: int, seed: int
    ) -> torch.Tensor:
        """Return the vectors `[count, hidden]` that training starts from."""
        if self.init == "random":
            return embed_random(model, count, seed)
        if self.init == "vocabulary":
            return embed_vocabulary(model, count, seed, special_tokens(model))
        first = best_start(session) if self.init == "best" else session.task.seed_prompt
        text = (self.text if self.init == "text" else "") or first.instruction
        if not text.strip():
            raise ConfigError(
                "searcher soft.init", "the prompt has no instruction to start from", got=self.init,
                do="set text, or init: vocabulary",
            )  # fmt: skip
        return embed_text(model, text, count)

    def _try(self, session: Session, base: Prompt, rows: Rows) -> Fitted | None:
        """Train with other learning rates and lengths, each trial on an equal part of the budget."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=session.rng.getrandbits(32))
        )
        middle = self.learning_rate or RATES[self.method]
        best: Fitted | None = None
        for number in range(self.trials):
            trial = study.ask()
            rate = trial.suggest_float("learning_rate", middle / 10, middle * 10, log=True)
            vectors = trial.suggest_categorical("vectors", LENGTHS)
            left = session.remaining.calls
            with session.limit(UNLIMITED if left is None else left // (self.trials - number)):
                fitted = self._fit(session, base, rows, vectors, rate)
                study.tell(trial, 0.0 if fitted is None else fitted.score)
                if fitted is not None and (best is None or fitted.score > best.score):
                    best = fitted
        return best

    def _put_into_words(self, session: Session, base: Prompt, soft: Prompt, score: float) -> None:
        """Score the text of the nearest tokens: few vectors may survive it, many do not."""
        assert soft.adapter is not None
        model = session.gradients()
        tokens = nearest_tokens(model, soft.adapter.read()[0]["prompt_embeddings"])
        text = model.loaded().tokenizer.decode(tokens).strip()
        instruction = f"{text} {base.instruction}".strip()
        worded = replace(base, instruction=instruction, parents=(soft.id,), origin="soft/words")
        (scored,) = session.score([worded])
        session.report(
            f"soft: in words {text!r}: {scored.mean:.3f} on the search rows instead of {score:.3f}",
            {"words": text, "score": scored.mean, "soft score": score},
        )
