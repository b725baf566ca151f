"""Answers of the gateway."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import InvalidEvent, RefusalReason


class RefusedLine(BaseModel):
    """An event that was refused, and why; never its values."""

    model_config = ConfigDict(frozen=True)

    line: int = Field(description="Number of the line, or of the event in its array, from 1 on.")
    field: str = Field(description='Path of the field at fault; "event" for the whole event.')
    reason: str = Field(description="What is wrong, and what to send instead.")
    code: RefusalReason = Field(description="The reason in one word of a fixed set.")

    @classmethod
    def of(cls, line: int, error: InvalidEvent) -> RefusedLine:
        """Report an error in a line."""
        return cls.model_construct(line=line, field=error.field, reason=error.reason, code=error.code)


class Receipt(BaseModel):
    """What became of the events of a request."""

    model_config = ConfigDict(frozen=True)

    accepted: int = Field(description="Events that are durable in the log now.")
    refused: list[RefusedLine] = Field(description="The others; send them again once they are mended.")


class GatewayReadiness(BaseModel):
    """Whether events can be made durable now."""

    model_config = ConfigDict(frozen=True)

    ready: bool = Field(description="false while the event log is away.")
