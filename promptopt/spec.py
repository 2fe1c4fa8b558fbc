"""What all parts of a job have in common: how strictly they are read, and the kinds of values they hold."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)


class Spec(BaseModel):
    """Base of all parts: frozen, an unknown key is an error, `5` where text is wanted is the text `5`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False, protected_namespaces=()
    )

    @model_serializer(mode="wrap")
    def _lean(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not set; a null that was written stays, for it may mean something."""
        data: dict[str, Any] = handler(self)
        return {k: v for k, v in data.items() if v is not None or k in self.model_fields_set}


MISREAD = re.compile(r"\s*[+-]?(0[0-9_]+|[0-9]{19,})\s*")


def plain_number(value: Any) -> Any:
    """Refuse what Python takes for a number though it may mean something else: `true`, `007`."""
    if isinstance(value, bool) or (isinstance(value, str) and MISREAD.fullmatch(value)):
        raise ValueError("must be a number of at most 18 digits, without zeros before them")
    return value


Number = Annotated[float, BeforeValidator(plain_number)]
Count = Annotated[int, BeforeValidator(plain_number), Field(ge=1)]


def short(key: str, part: type[Spec]) -> BeforeValidator:
    """Accept a plain string for a part of which only `key` is given."""
    return BeforeValidator(
        lambda value: {key: value} if isinstance(value, str) else value, json_schema_input_type=str | part
    )


def listed(value: Any) -> Any:
    """Accept one text for a list of texts."""
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(listed, json_schema_input_type=str | list[str])]
