"""The directory that `ullme encode` reads."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ullme import Exporter

if TYPE_CHECKING:
    from ullme import Embedder


class UllmeDirectory(Exporter):
    """A self-contained model directory: weights, adapter, tokenizer, template and prompts, read by `ullme encode`."""

    class Config(Exporter.Config):
        folder: str = Field("model", pattern=r"^\w[\w.-]*$", description="below the run's output")

    def export(self, embedder: "Embedder", out_dir: Path) -> None:
        """Write everything that `Embedder.from_directory(out_dir)` needs, in safetensors and YAML."""
        embedder.save(out_dir)
