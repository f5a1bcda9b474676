"""The directory that `ullme encode` reads."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ullme import ConfigError, Exporter

if TYPE_CHECKING:
    from ullme import Embedder, ExportContext
    from ullme.model.reference import Encode


class UllmeDirectory(Exporter):
    """A self-contained model directory: weights, adapter, tokenizer, template and prompts, read by `ullme encode`."""

    class Config(Exporter.Config):
        folder: str = Field("model", pattern=r"^\w[\w.-]*$", description="below the run's output")

    def export(self, embedder: "Embedder", out_dir: Path, context: "ExportContext") -> None:
        """Write everything that `Embedder.from_directory(out_dir)` needs, in safetensors and YAML."""
        if context.dtype is not None:
            raise ConfigError("this format keeps base and adapter apart, each in its own dtype; export without `dtype`")
        from ullme_plugins.exporters._card import write_card

        embedder.save(out_dir, check=False)
        write_card(embedder, None, out_dir, context, (), library="ullme")

    def reads(self, folder: Path) -> bool:
        """Whether ullme.yaml and the backbone are there."""
        return (folder / "ullme.yaml").is_file() and (folder / "backbone").is_dir()

    def read(self, folder: Path, device: str | None = None) -> "Encode":
        """As `Embedder.from_directory` loads it."""
        from ullme import Embedder

        embedder = Embedder.from_directory(folder, device=device)
        return lambda texts, role: embedder.encode(texts, role=role)
