"""A folder for transformers alone: the whole merged model, its tokenizer, and what must be done with its states."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ullme import Exporter, ExportError

if TYPE_CHECKING:
    from ullme import Embedder, ExportContext
    from ullme.model.reference import Encode


class HuggingFaceFolder(Exporter):
    """A folder for `AutoModel` and, with its language-model head, `AutoModelForCausalLM`: the adapter is merged.

    Its config asks for the attention that embeds: where that looks ahead, set `model.config.is_causal = True` to
    generate.
    """

    def export(self, embedder: Embedder, out_dir: Path, context: ExportContext) -> None:
        """Write model, tokenizer, reference and card. Raises ExportError for heads: they have no place there."""
        from ullme_plugins.exporters._card import write_card
        from ullme_plugins.exporters._folder import write_folder
        from ullme_plugins.exporters._plan import plan

        found = plan(embedder)
        if found.layers:
            raise ExportError(
                "transformers alone has no place for what comes after pooling (heads, fewer dimensions); the"
                " `sentence-transformers` format has"
            )
        told = write_folder(embedder, found, out_dir, context, form="hf", whole=True)
        for line in told:
            context.say(f"warning: {line}")
        write_card(embedder, found, out_dir, context, told, library="transformers")

    def reads(self, folder: Path) -> bool:
        """Whether a model of transformers is there with what ullme says of it, and no other format's files."""
        names = ("config.json", "ullme.json")
        return all((folder / name).is_file() for name in names) and not (folder / "modules.json").is_file()

    def read(self, folder: Path, device: str | None = None) -> Encode:
        """With transformers alone, as the card shows."""
        from ullme_plugins.exporters._reading import StockReader

        return StockReader(folder, device)
