"""What the service takes and answers. Bodies are strict: no "5" for 5, no unknown fields."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
)

from sagesched.predict.features import Options
from sagesched.predict.token_ids import Content, TokenIds

MAX_LIST = 256
"""Prompts or outcomes in one body."""
MAX_NAME_CHARS = 256
MOST_TOKENS = 2**31 - 1


def well_formed(value: object) -> object:
    """A text without lone surrogates, which JSON may hold and UTF-8 may not: they become "?"."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(well_formed)]
Name = Annotated[Text, Field(max_length=MAX_NAME_CHARS)]
Tokens = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


OTHER_NAMES = {"model": "group", "max_new_tokens": "max_tokens"}


def _with_other_names(schema: dict[str, Any]) -> None:
    """The schema of a body in which a field goes by either of its names, but not by both."""
    fields = schema["properties"]
    for name, other in OTHER_NAMES.items():
        title = other.replace("_", " ").title()
        fields[other] = {**fields[name], "title": title, "description": f"The same as `{name}`."}
    schema["not"] = {"anyOf": [{"required": list(names)} for names in OTHER_NAMES.items()]}


class Asked(_Body):
    """A request to a language model, as far as it says how long the answer will be."""

    model_config = ConfigDict(json_schema_extra=_with_other_names)

    prompt: Text | Annotated[list[Tokens], Field(fail_fast=True)] = Field(
        description="The text as the model gets it, or its token ids where there is no text. Ids "
        "are compared with ids only, so one model's traffic should send one or the other."
    )
    model: Name = Field(
        default="",
        validation_alias=AliasChoices("model", OTHER_NAMES["model"]),
        description="Whatever shifts all lengths: model, adapter, route; `group` is the same.",
    )
    tenant: Name = Field(default="", description="Customer or API key.")
    max_new_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = Field(
        default=None,
        validation_alias=AliasChoices("max_new_tokens", OTHER_NAMES["max_new_tokens"]),
        description="The request's own limit; the prediction is cut there.",
    )
    temperature: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    structured: bool = Field(
        default=False, description="A JSON schema, regular expression or grammar."
    )
    tools: bool = Field(default=False, description="Tools are offered.")
    prompt_tokens: Tokens | None = Field(
        default=None,
        description="Length of the prompt; without it, for the cost: ids, or characters / 4.",
    )

    def options(self) -> Options:
        """What the request asks of its answer."""
        temperature = 1.0 if self.temperature is None else self.temperature
        return Options(self.max_new_tokens, temperature, self.structured, self.tools)

    def content(self) -> Content:
        """What is embedded."""
        return self.prompt if isinstance(self.prompt, str) else TokenIds.of(self.prompt)

    def known_prompt_tokens(self) -> int | None:
        """As told, or the number of ids."""
        if self.prompt_tokens is None and not isinstance(self.prompt, str):
            return len(self.prompt)
        return self.prompt_tokens


class _Ended(_Body):
    output_tokens: Tokens = Field(description="Tokens produced.")
    finished: bool = Field(
        default=True,
        description="False where the model did not end by itself (limit, abort, disconnect): the "
        "output counts as longer than `output_tokens`.",
    )


class KeyOutcome(_Ended):
    """How a request ended whose prediction was asked for."""

    key: Name = Field(description="From the answer of /predict; each is good for one outcome.")


class PromptOutcome(_Ended, Asked):
    """How a request ended that the service has not seen, or has forgotten."""


def _kind_of_outcome(body: object) -> str:
    by_prompt = isinstance(body, PromptOutcome) or (isinstance(body, dict) and "prompt" in body)
    return "by prompt" if by_prompt else "by key"


def _one_or_many(body: object) -> str:
    return "list" if isinstance(body, list) else "one"


Outcome = Annotated[
    Annotated[KeyOutcome, Tag("by key")] | Annotated[PromptOutcome, Tag("by prompt")],
    Discriminator(_kind_of_outcome),
]
PredictBody = Annotated[
    Annotated[Asked, Tag("one")]
    | Annotated[list[Asked], Field(min_length=1, max_length=MAX_LIST), Tag("list")],
    Discriminator(_one_or_many),
]
IngestBody = Annotated[
    Annotated[Outcome, Tag("one")]
    | Annotated[list[Outcome], Field(min_length=1, max_length=MAX_LIST), Tag("list")],
    Discriminator(_one_or_many),
]


class SizeBucket(str, Enum):
    """By the predicted median: up to 128, 512, 2048 output tokens, and more."""

    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"
    XLONG = "xlong"


class FallbackLevel(str, Enum):
    """The narrowest evidence an answer rests on, best first; the last two had no prediction."""

    NEIGHBOURS = "neighbours"
    TENANT = "tenant"
    GROUP = "group"
    GLOBAL = "global"
    COLD_START = "cold-start"
    DEADLINE = "deadline"
    UNAVAILABLE = "unavailable"


class Prediction(BaseModel):
    """What is expected of a request's output. Token counts are right edges of length bins."""

    key: str = Field(description="Names this request when its outcome is ingested.")
    size_bucket: SizeBucket
    expected_output_tokens_p50: int = Field(
        description="Smallest length not exceeded with probability 0.5."
    )
    expected_output_tokens_p90: int = Field(
        description="Smallest length not exceeded with probability 0.9."
    )
    predicted_cost_p50: float = Field(
        description="Cost of the whole request at the median length, by the service's cost model; "
        "by default KV tokens held times decode steps."
    )
    risk_score: float = Field(
        ge=0.0, le=1.0, description="Probability of an output longer than twice the median."
    )
    confidence_score: float = Field(
        ge=0.0,
        le=1.0,
        description="How much narrower the prediction is than the law before any request has "
        "finished: 1 - ln(p90/p10) / the same of that law, at least 0. 0: nothing is known; 1: the "
        "length is known.",
    )
    fallback_level: FallbackLevel = Field(description=str(FallbackLevel.__doc__))
    quantiles: dict[str, int] = Field(
        description="Output tokens by probability.", examples=[{"0.5": 200, "0.9": 960}]
    )


class Ingested(BaseModel):
    """Outcomes taken; they are learned in the service's thread, a moment later."""

    accepted: int


class Group(BaseModel):
    """A model, adapter or route that has finished requests in the history."""

    model: str
    records: int


class Models(BaseModel):
    """What the service predicts from."""

    embedder: str
    records: int = Field(description="Finished requests in the history.")
    capacity: int = Field(description="Most of them that are kept; the oldest go first.")
    max_tokens: int = Field(description="Longest output that is told apart (--context-length).")
    models: list[Group]


class Health(BaseModel):
    """Whether predictions can be had."""

    status: Literal["starting", "ready", "failed", "stopped"]
    reason: str = Field(default="", description="Why it failed: the error's type and place.")


class Problem(BaseModel):
    """What is wrong with a request."""

    detail: str


class Invalid(BaseModel):
    """Which fields of a body are wrong, ten at most."""

    class Field(BaseModel):
        """One of them."""

        loc: list[str | int]
        msg: str

    detail: list[Field]
