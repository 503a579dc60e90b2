"""What the models of topics.yaml have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationInfo, field_validator

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"),
]
"""Lower-case letters, digits and, between them, hyphens; at most 63 characters."""


class ConfigModel(BaseModel):
    """A mapping of topics.yaml: immutable, and without unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        # Whoever builds these models without the loader sees no passwords in errors either.
        hide_input_in_errors=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and info.field_name is not None:
            expected = cls.model_fields[info.field_name].annotation
            if expected is not bool:  # pydantic would take true for 1
                raise ValueError("true and false have no meaning here")
        return value
