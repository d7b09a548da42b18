"""What every engine of language models takes: a prompt, or a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

Text = Annotated[str, Field(min_length=1)]


class Message(pydantic.BaseModel):
    """One turn of a conversation."""

    model_config = pydantic.ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"] = Field(description="who speaks")
    content: str = Field(description="what is said")


def _complete(schema: dict[str, Any]) -> None:
    """What pydantic cannot say: one of the two is required, and what is left out has no default."""
    schema["oneOf"] = [{"required": ["prompt"]}, {"required": ["messages"]}]
    for field in schema["properties"].values():
        if field.get("default", ...) is None:
            del field["default"]


class ChatInputs(pydantic.BaseModel):
    """What is to be answered. Engines add how."""

    model_config = pydantic.ConfigDict(title="Inputs", extra="forbid", json_schema_extra=_complete)

    prompt: Text | SkipJsonSchema[None] = Field(
        None,
        description="What to answer. Give either this or messages.",
        examples=["Why is the sky blue?"],
    )
    messages: Annotated[list[Message], Field(min_length=1)] | SkipJsonSchema[None] = Field(
        None, description="A conversation to continue. Give either this or prompt."
    )
    system_prompt: str | SkipJsonSchema[None] = Field(
        None, description="What the model is told before everything else."
    )

    @pydantic.model_validator(mode="after")
    def _exactly_one(self) -> ChatInputs:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self


def conversation(
    prompt: str | None, messages: Sequence[Message] | None, system_prompt: str | None
) -> list[dict[str, str]]:
    """The messages that a chat completion begins with."""
    said = [{"role": "system", "content": system_prompt}] if system_prompt else []
    if messages is None:
        return [*said, {"role": "user", "content": prompt or ""}]
    return said + [{"role": message.role, "content": message.content} for message in messages]
