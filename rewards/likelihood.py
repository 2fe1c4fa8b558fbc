"""How probable the model finds the answer: alone, or against the other options."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from promptopt.contracts.reward import Needs, OptionScore, Output
from promptopt.errors import ContractError
from promptopt.records import Example, Score

from ._choice import Choices, right_choices
from ._text import answers_of, fold, quote, quote_any, tail


@dataclass
class LogLikelihood:
    """Log-probability of the main answer, in nats: its mean per token, or its sum. At most 0.

    The answer is scored as the target tokenises it, without any normalisation.

    Source: the score of APE's likelihood mode (Zhou et al. 2023, "Large Language Models Are Human-Level
    Prompt Engineers", section 3.2), which is the mean per token in its code.

    Attributes:
        normalize: `token` for the mean per token, so that long and short answers weigh alike; `none` for
            the sum, the log-probability of the whole answer.
    """

    normalize: Literal["token", "none"] = "token"
    needs: Needs = field(default="likelihood", init=False, repr=False)

    def __call__(self, example: Example, output: Output) -> Score:
        """Return the log-probability that the target gave the answer."""
        answer = answers_of(example, "log_likelihood")[0]
        if output.tokens < 1 or not math.isfinite(output.logprob):
            got = f"{output.logprob} over {output.tokens} tokens"
            raise ContractError("reward log_likelihood", "the answer has no finite log-probability", got=got)
        mean = output.logprob / output.tokens
        probability = math.exp(min(mean, 0.0))
        feedback = (
            f"the answer {quote(answer)} has {mean:.3g} nats a token over {output.tokens} tokens, "
            f"a probability of {probability:.2g} a token"
        )
        return Score(mean if self.normalize == "token" else output.logprob, feedback)

    def extract(self, text: str) -> str | None:
        """Return the folded text; likelihoods have no reply to vote on."""
        return fold(tail(text)) or None


@dataclass
class OptionLikelihood:
    """Whether the model finds an accepted answer the likeliest of the row's options.

    Answers are matched with options as in the reward multiple_choice. Of equally likely options the
    first is chosen.

    Source: lm-evaluation-harness (Gao et al.), multiple-choice tasks: `none` is its `acc`, `char` its
    `acc_norm`; `token` is the mean per token of Brown et al. 2020, "Language Models are Few-Shot
    Learners", section 2.4.

    Attributes:
        normalize: divide each option's log-probability by nothing, by its number of tokens, or by its
            number of characters, so that long options are not at a disadvantage.
        value: `accuracy` is 1 if the chosen option is right, else 0; `probability` is the softmax
            probability of the right options, which tells prompts of equal accuracy apart.
    """

    normalize: Literal["none", "token", "char"] = "none"
    value: Literal["accuracy", "probability"] = "accuracy"
    needs: Needs = field(default="options", init=False, repr=False)

    def __call__(self, example: Example, output: Output) -> Score:
        """Compare the options' log-probabilities."""
        names = tuple(option.option for option in output.options)
        scores = [self._score(option) for option in output.options]
        if not scores or any(math.isnan(score) for score in scores) or not math.isfinite(max(scores)):
            where, problem = "reward option_likelihood", "the options have no usable log-probabilities"
            raise ContractError(where, problem, got=scores, do="give every row its options")
        right = right_choices(example, Choices.of(names), "option_likelihood")
        top = max(scores)
        weights = [math.exp(score - top) for score in scores]
        chances = [weight / math.fsum(weights) for weight in weights]
        chosen = scores.index(top)
        feedback = f"chose {quote(names[chosen])} (p={chances[chosen]:.2f})"
        if chosen not in right:
            expected = quote_any([names[i] for i in sorted(right)])
            feedback += f", expected {expected} (p={math.fsum(chances[i] for i in right):.2f})"
        if self.value == "probability":
            return Score(min(1.0, math.fsum(chances[i] for i in right)), feedback)
        return Score(float(chosen in right), feedback)

    def extract(self, text: str) -> str | None:
        """Return the folded text; likelihoods have no reply to vote on."""
        return fold(tail(text)) or None

    def _score(self, option: OptionScore) -> float:
        lengths = {"none": 1, "token": option.tokens, "char": len(option.option)}
        return option.logprob / max(1, lengths[self.normalize])
