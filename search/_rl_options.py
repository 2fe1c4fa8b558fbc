"""The options of `rl` that belong together: how the generator is trained, and how its texts are rewarded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Training:
    """How the generator learns.

    Attributes:
        algorithm: `grpo` (Shao et al. 2024, "DeepSeekMath", arXiv 2402.03300, section 4) or `rloo`
            (Ahmadian et al. 2024, "Back to Basics", arXiv 2402.14740).
        learning_rate: of AdamW, constant. 4e-4 suits models of a few million parameters; take 1e-6 for
            billions, 1e-5 with LoRA. 0 draws and learns nothing: the best of so many proposals.
        beta: weight of the KL divergence from the anchor, in reward a nat. Much of it keeps proposals
            different and readable at a high learning rate.
        anchor: what the divergence is measured from: `start` is the untrained generator; `moving` follows
            the policy whenever it has earned more than before (StablePrompt, Kwon et al. 2024, arXiv
            2410.07652, section 3).
        anchor_every: steps between two looks at a moving anchor.
        entropy_floor: nats a token; below it a bonus on entropy grows until the policy is back.
        iterations: optimizer steps on each batch of proposals (mu of the paper).
        lora: rank of low-rank adapters to train instead of all weights; None trains all.
        micro_batch: proposals whose gradients are computed at once; None is all of a step. Fewer take less
            memory and give the same gradient.
        activation_checkpointing: compute activations twice instead of keeping them; saves memory.
        device: `auto` (cuda if there is one, else cpu), `cpu` or `cuda`. On cuda it computes in bfloat16.
        threads: CPU threads while training; None leaves them as they are. A small model is fastest with 1.
        save_every: steps between checkpoints.
        patience: steps without a better mean reward after which the search is on a plateau.
        collapse: steps in a row in which no group's rewards differ, after which there is nothing to learn.
    """

    algorithm: Literal["grpo", "rloo"] = "grpo"
    learning_rate: NotNegative = 4e-4
    beta: NotNegative = 0.15
    anchor: Literal["start", "moving"] = "start"
    anchor_every: Positive = 10
    entropy_floor: NotNegative | None = None
    iterations: Positive = 1
    lora: Positive | None = None
    micro_batch: Positive | None = None
    activation_checkpointing: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Positive | None = 1
    save_every: Positive = 10
    patience: Positive = 30
    collapse: Positive = 5

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Shaping:
    """What is added to a proposal's score before the generator learns from it; the archive keeps the score.

    Attributes:
        signal: another reward to add, such as `log_likelihood` or `option_likelihood`: how probable the
            target finds the answer tells proposals of equal accuracy apart.
        signal_weight: of the signal.
        top: share of a group whose rewards count as they are; the others all get the least of these. Below 1
            the policy goes for its best proposals, not for their mean (risk-seeking gradients: Petersen
            et al. 2021, "Deep symbolic regression", arXiv 1912.04871, section 3.3), which suits an archive.
        per_input: z-score each row's values over its group before they are averaged (RLPrompt, Deng et al.
            2022, arXiv 2205.12548, section 3.2), so that easy and hard rows weigh alike.
        length_penalty: taken off a text of `max_chars` characters; shorter ones lose less in proportion.
        repetition_penalty: taken off in proportion to the words that repeat three words in a row.
        invalid_penalty: how far a text that cannot be used (cut off, empty, too long, quoting a row) is
            below the worst of its group.
    """

    signal: str | None = None
    signal_weight: float = 1.0
    top: Annotated[float, Field(gt=0, le=1)] = 1.0
    per_input: bool = False
    length_penalty: NotNegative = 0.0
    repetition_penalty: NotNegative = 0.5
    invalid_penalty: NotNegative = 0.5

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
