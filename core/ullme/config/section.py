"""The base of every section of a pipeline."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Refuses unknown keys, and does not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
