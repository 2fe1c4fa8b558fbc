"""What a run is asked to do: the job, as frozen pydantic models; it knows nothing of files or plug-ins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    field_validator,
    model_validator,
)

from .contracts.model import Decoding
from .data import Format
from .prices import list_price
from .programs import REASONING_TOKENS, Program, program_from_dict
from .prompt import Demonstration, Prompt, Retriever
from .proof.pareto import CostName, Objective
from .records import Budget, FrozenMap, Price
from .spec import Count, Number, Spec, Texts, plain_number, short
from .template import Template, parse_prompt


class Sizes(Spec):
    """Rows per split, drawn with the run's seed."""

    search: Count | None = Field(default=None, description="rows the searcher sees")
    select: Count | None = Field(default=None, description="rows the finalists are chosen on")
    test: Annotated[int, BeforeValidator(plain_number), Field(ge=0)] | None = Field(
        default=None, description="rows the verdict is spoken on; opened once, at the end; 0: no test split"
    )


class DataSpec(Spec):
    """Where the rows are and what their columns mean."""

    path: str | None = Field(default=None, description="one file, or hub:owner/name, to be split")
    search: str | None = Field(default=None, description="file of search rows, instead of `path`")
    select: str | None = Field(
        default=None, description="file of select rows; default: some of the search rows"
    )
    test: str | None = Field(default=None, description="file of test rows")
    format: Format | None = Field(default=None, description="what the files are; default: by their suffix")
    inputs: Texts | dict[str, str] | None = Field(
        default=None, description="input columns, or new name: column; default: all that have no other role"
    )
    answer: Texts | None = Field(
        default=None, description="column of the accepted answer(s); default: output, answer, label or target"
    )
    options: str | None = Field(default=None, description="column of the possible answers; default: options")
    id: str | None = Field(default=None, description="column that names a row; default: id")
    group: str | None = Field(
        default=None, description="column of rows that stay in one split; default: group"
    )
    split: str | None = Field(
        default=None, description="column that says search, select or test (train, dev); default: split"
    )
    sizes: Sizes = Field(default=Sizes(), description="rows per split")
    allow_duplicates: StrictBool = Field(default=False, description="accept the same row in two splits")

    @model_validator(mode="after")
    def _one_source(self) -> DataSpec:
        if (self.path is None) == (self.search is None):
            raise ValueError("needs either `path` (one file) or `search` and `test` (a file each)")
        if self.path is None and self.test is None and self.sizes.test != 0:
            raise ValueError(
                "needs a `test` file beside `search`: the verdict is spoken on rows nobody has seen "
                "(`sizes: {test: 0}` does without, and gets an estimate instead of a proof)"
            )
        if self.path is not None and (self.select or self.test):
            raise ValueError("has `path` and a file of its own for a split; rename `path` to `search`")
        return self


class DemonstrationSpec(Spec):
    """A worked example shown in the prompt."""

    inputs: dict[str, str] = Field(description="input columns and their values")
    output: str = Field(description="the right answer")


class RetrieverSpec(Spec):
    """Demonstrations chosen for each row: those of a pool that are most like it."""

    pool: tuple[DemonstrationSpec, ...] = Field(min_length=1, description="worked examples to choose from")
    k: int = Field(ge=1, description="how many a row is shown")


class PromptSpec(Spec):
    """The prompt to beat: one text, or its parts."""

    text: str | None = Field(default=None, description="instruction and layout in one, with {{column}} slots")
    file: str | None = Field(
        default=None,
        description="a text file, a prompt saved as JSON, or a promptfoo configuration (FILE.yaml#LABEL)",
    )
    instruction: str = Field(default="", description="what to do, in words")
    user: str | None = Field(default=None, description="layout of the user message")
    system: str = Field(default="", description="layout of the system message")
    demonstration: str | None = Field(
        default=None, description="layout of one demonstration; holds {{output}}"
    )
    separator: str = Field(default="\n\n", description="what stands between demonstrations")
    header: str = Field(default="", description="text above the demonstrations")
    demonstrations: tuple[DemonstrationSpec, ...] = Field(default=(), description="worked examples, in order")
    retriever: RetrieverSpec | None = Field(default=None, description="worked examples chosen for each row")
    engine: Literal["plain", "jinja"] = Field(default="plain", description="how {{slots}} are filled in")

    @model_validator(mode="after")
    def _one_form(self) -> PromptSpec:
        system = self.system if self.text is None else ""  # which a text may have beside it
        texts = self.instruction or self.user or system or self.header
        parts = bool(texts or self.demonstrations or self.retriever)
        if (self.text is not None) + (self.file is not None) + parts != 1:
            raise ValueError("needs exactly one of `text`, `file`, or `instruction` with its layout")
        if self.text is not None and not self.text.strip():
            raise ValueError("is empty; write the instruction you use today")
        return self

    @field_validator("text", "user", "system", "header")
    @classmethod
    def _without_last_line_end(cls, value: str | None) -> str | None:
        """Drop the line end that YAML's `|` leaves: nobody means the prompt to end in one."""
        return value if value is None else value.removesuffix("\n")

    def build(self, fields: tuple[str, ...], program: Program) -> Prompt:
        """Return the seed prompt for rows with these input columns; its slots are checked."""
        if self.text is not None:
            instruction, template = parse_prompt(self.text, fields)
            template = replace(template, system=self.system)
        else:
            default = Template.for_fields(fields)
            instruction, template = (
                self.instruction,
                Template(
                    user=self.user if self.user is not None else default.user,
                    system=self.system,
                    demonstration=self.demonstration
                    if self.demonstration is not None
                    else default.demonstration,
                    separator=self.separator,
                    engine=self.engine,
                    header=self.header,
                ),
            )
        template.check(fields)
        shown = _demonstrations(self.demonstrations)
        retriever = None
        if self.retriever is not None:
            retriever = Retriever(_demonstrations(self.retriever.pool), self.retriever.k)
        return Prompt(instruction, shown, template, program, retriever=retriever)


def _demonstrations(specs: Iterable[DemonstrationSpec]) -> tuple[Demonstration, ...]:
    return tuple(Demonstration(FrozenMap(spec.inputs), spec.output) for spec in specs)


class PriceSpec(Spec):
    """US dollars per million tokens."""

    input: Number = Field(ge=0, description="what the model reads")
    output: Number = Field(ge=0, description="what it writes")


class DecodingSpec(Spec):
    """How the target's replies are decoded."""

    max_tokens: Count = Field(default=64, description="most tokens of a reply")
    reasoning_tokens: Count | None = Field(
        default=None,
        description="most tokens of a reply that reasons first, where `program` asks for that; default: "
        f"max_tokens if that is given, else {REASONING_TOKENS}",
    )
    temperature: Number = Field(default=0.0, ge=0, le=2, description="0 is greedy")
    top_p: Number = Field(default=1.0, gt=0, le=1, description="nucleus mass; 1 is off")
    stop: Texts = Field(default=(), description="texts that end a reply")

    @model_validator(mode="before")
    @classmethod
    def _room(cls, given: Any) -> Any:
        """Give replies that reason room of their own, unless the length of replies is said."""
        said = not isinstance(given, Mapping) or {"max_tokens", "reasoning_tokens"} & given.keys()
        return given if said else {**given, "reasoning_tokens": REASONING_TOKENS}

    def to_record(self, seed: int) -> Decoding:
        """Return it as models and programs want it."""
        return Decoding(self.max_tokens, self.temperature, self.top_p, self.stop, seed, self.reasoning_tokens)


RAY = ("replicas", "cpus", "gpus", "address")
"""Options of the executor `ray`; the others are the model's."""
DEFAULT_MODELS = {"embedded": "embedded/small"}
"""What a provider's name alone stands for."""


class ModelSpec(Spec):
    """A model in one of its roles; keys not named here are options of the model plug-in."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(description="provider/name, such as embedded/small, hf/FOLDER or openai/gpt-4o-mini")
    price: PriceSpec | None = Field(
        default=None, description="US dollars per million tokens; needed for budget.usd"
    )
    decoding: DecodingSpec = Field(default=DecodingSpec(), description="how replies are decoded")
    executor: Literal["local", "ray"] | None = Field(
        default=None,
        description="ray: replicas of a local model on a Ray cluster; keys: replicas, cpus, gpus",
    )

    @field_validator("model")
    @classmethod
    def _default(cls, model: str) -> str:
        return DEFAULT_MODELS.get(model, model)

    @model_validator(mode="after")
    def _has_provider(self) -> ModelSpec:
        if not all(self.model.partition("/")[::2]):
            raise ValueError(f"model {self.model!r} is not provider/name; write it like openai/gpt-4o-mini")
        return self

    @property
    def provider(self) -> str:
        """The model plug-in."""
        return self.model.partition("/")[0]

    @property
    def name(self) -> str:
        """The model, as its provider calls it."""
        return self.model.partition("/")[2]

    @property
    def options(self) -> dict[str, Any]:
        """Options of the model plug-in."""
        theirs = RAY if self.executor == "ray" else ()
        return {key: value for key, value in (self.model_extra or {}).items() if key not in theirs}

    @property
    def plugin(self) -> tuple[str, dict[str, Any]]:
        """The plug-in that answers, and its options: the model's own, or its executor's."""
        if self.executor != "ray":
            return self.provider, {"name": self.name, **self.options}
        own = {key: value for key, value in (self.model_extra or {}).items() if key in RAY}
        return "ray", {"name": self.model, "options": self.options, **own}

    @property
    def list_price(self) -> Price | None:
        """What its tokens cost: the job's price, else the list price; None when unknown."""
        if self.price is not None:
            return Price(self.price.input, self.price.output)
        given = self.options.keys() & {"base_url", "endpoints"}
        elsewhere = bool(given or os.environ.get("OPENAI_BASE_URL"))
        return list_price(self.provider, self.name, own_endpoint=elsewhere)


class PluginSpec(Spec):
    """A plug-in by name; the other keys are its options."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="the plug-in; `promptopt plugins` lists them")

    @property
    def options(self) -> dict[str, Any]:
        """Options of the plug-in."""
        return dict(self.model_extra or {})


class BudgetSpec(Spec):
    """Hard caps over target, proposer and judge together."""

    calls: Count | None = Field(default=None, description="model calls, retries included")
    tokens: Count | None = Field(default=None, description="prompt and completion tokens")
    usd: Number | None = Field(default=None, gt=0, description="US dollars")
    minutes: Number | None = Field(default=None, gt=0, description="wall time")

    def to_record(self) -> Budget:
        """Return the caps as the ledger wants them."""
        return Budget(self.calls, self.tokens, self.usd, self.minutes)


class ObjectiveSpec(Spec):
    """What the run is after."""

    name: Literal["reward", "pareto"] = Field(
        default="reward", description="the reward alone, or the front of reward against cost"
    )
    cost: CostName = Field(
        default="prompt_tokens", description="what is weighed against the reward, an answer each"
    )
    prefer: Literal["reward", "cheap"] = Field(
        default="reward", description="cheap: the cheapest of those within the noise of the best wins"
    )

    @model_validator(mode="after")
    def _fits(self) -> ObjectiveSpec:
        self.to_record()
        return self

    def to_record(self) -> Objective:
        """Return the objective as the run wants it."""
        return Objective(self.name, self.cost, self.prefer)


Model = Annotated[ModelSpec, short("model", ModelSpec)]
Plugin = Annotated[PluginSpec, short("name", PluginSpec)]


Searchers = Annotated[
    Annotated[Plugin, Tag("[one]")] | Annotated[tuple[Plugin, ...], Field(min_length=1), Tag("[several]")],
    Discriminator(lambda value: "[several]" if isinstance(value, list | tuple) else "[one]"),
]
"""One searcher, or several that compete; the tags are left out of messages like all that is in brackets."""


def _in_list(value: Any) -> Any:
    return (value,) if isinstance(value, str | Mapping) else value


Trackers = Annotated[
    tuple[Plugin, ...],
    BeforeValidator(_in_list, json_schema_input_type=str | PluginSpec | list[str | PluginSpec]),
]
"""One tracker, or a list."""


class Job(Spec):
    """Everything a run needs to know."""

    name: str = Field(default="job", description="what the run is called", pattern=r"^[\w][\w .-]*$")
    description: str = Field(
        default="", description="what the task is, in a sentence; prompt writers may see it"
    )
    data: Annotated[DataSpec, short("path", DataSpec)] = Field(description="the rows: a file, or its parts")
    prompt: Annotated[PromptSpec, short("text", PromptSpec)] = Field(description="the prompt to beat")
    target: Model = Field(description="the model whose answers are to get better")
    proposer: Model | None = Field(
        default=None, description="the model that writes prompts; default: the target"
    )
    judge: Model | None = Field(
        default=None, description="the model that judges replies, if the reward needs one"
    )
    reward: Plugin = Field(description="how a reply is judged")
    search: Searchers = Field(
        default=PluginSpec(name="ape"),
        description="how prompts are found; several searchers compete, each on an equal share of the budget",
    )
    selector: Plugin = Field(
        default=PluginSpec(name="paired_race"), description="how the best are told apart"
    )
    program: Plugin = Field(
        default=PluginSpec(name="single"), description="how one answer is made from model calls"
    )
    optimize: Texts = Field(
        default=("instruction",),
        description="parts of the prompt that may be changed: instruction, system, header, trigger",
    )
    objective: Annotated[ObjectiveSpec, short("name", ObjectiveSpec)] = Field(
        default=ObjectiveSpec(), description="what the run is after: reward, or reward against cost (pareto)"
    )
    finalists: Count = Field(default=5, description="prompts that are compared on the select rows")
    samples: Count = Field(default=1, description="replies per prompt and row")
    budget: BudgetSpec = Field(default=BudgetSpec(), description="hard caps; none by default")
    study: str | None = Field(
        default=None,
        description="PostgreSQL database that keeps the run, for workers to share: postgresql://HOST/DATABASE",
    )
    trackers: Trackers = Field(
        default=(), description="where curves go besides the run's folder: tensorboard, mlflow, wandb"
    )
    seed: Annotated[int, BeforeValidator(plain_number)] = Field(
        default=0, ge=0, description="of everything random"
    )

    @model_validator(mode="after")
    def _samples_differ(self) -> Job:
        if self.samples > 1 and self.target.decoding.temperature == 0:
            raise ValueError(
                f"samples: {self.samples} replies at temperature 0 are one reply, bought {self.samples} "
                "times; set target.decoding.temperature"
            )
        return self

    @property
    def searchers(self) -> tuple[PluginSpec, ...]:
        """The searchers: one, or those that compete."""
        return self.search if isinstance(self.search, tuple) else (self.search,)

    @property
    def roles(self) -> Mapping[str, ModelSpec]:
        """The models by role; the proposer is the target unless another is named."""
        roles = {"target": self.target, "proposer": self.proposer or self.target}
        return roles if self.judge is None else {**roles, "judge": self.judge}

    @property
    def prices(self) -> dict[str, Price]:
        """Prices by role, where they are known."""
        return {role: price for role, spec in self.roles.items() if (price := spec.list_price) is not None}

    def build_program(self) -> Program:
        """Return the program of the seed prompt."""
        return program_from_dict({"name": self.program.name, **self.program.options})

    def build_prompt(self, fields: tuple[str, ...]) -> Prompt:
        """Return the seed prompt for rows with these input columns."""
        return self.prompt.build(fields, self.build_program())

    def to_lock(self) -> dict[str, Any]:
        """Return plain data with every default written out; `config.job_from_dict` reads it back.

        It holds no secret: those are never part of a job.
        """
        return self.model_dump(mode="json")
