"""The verdict on a family: saved tiny, loaded by its backbone, tested under each implementation, one row."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ullme import Backbone, ConfigError, LoadedBackbone, Registry, UllmeError, probe_attention, quiet_transformers
from ullme_plugins.backbones import _tiny
from ullme_plugins.backbones.auto import kind_of
from ullme_plugins.commands._catalogue import VARIANTS, reader
from ullme_plugins.commands._selftest import problems, refused_by_probe
from ullme_plugins.commands._subject import Subject, windows

FULL_NAMES = {"eager": "eager", "sdpa": "sdpa", "flex": "flex_attention"}

FLEX_UNTRAINED = "flex not trained: it has no backward on a CPU"

Status = Literal["accepted", "refused", "failed", "absent"]


@dataclass(frozen=True)
class Verdict:
    """`absent`: transformers has no such implementation; `refused`: ullme says no; `failed`: a check did."""

    status: Status
    reason: str = ""


@dataclass
class Row:
    """One family: how it is called, who reads it, what became of it under each implementation."""

    family: str
    plugin: str
    kind: str
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        """Accepted under some implementation, and failing under none."""
        statuses = {verdict.status for verdict in self.verdicts.values()}
        return "accepted" in statuses and "failed" not in statuses

    @property
    def named(self) -> bool:
        """Whether a backbone of its own reads it."""
        return self.plugin != "auto"


def examine(family: str, implementations: Iterable[str], *, fast: bool) -> Row:
    """Build the family tiny and test it under each implementation."""
    model_type, settings = VARIANTS.get(family, (family, {}))
    plugin = reader(family)
    row = Row(family, plugin, kind_of(model_type) or "encoder")
    with _silent(), tempfile.TemporaryDirectory() as folder:
        try:
            path = _tiny.save_tiny(Path(folder) / "model", model_type, **settings)
        except Exception as error:
            reason = f"not built: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
            row.verdicts = dict.fromkeys(implementations, Verdict("absent", reason))
            return row
        for name in implementations:
            row.verdicts[name] = _verdict(row, plugin, path, model_type, FULL_NAMES.get(name, name), fast)
    return row


def _verdict(row: Row, plugin: str, path: Path, model_type: str, implementation: str, fast: bool) -> Verdict:
    try:
        loaded = _load(plugin, path, implementation)
    except ConfigError as error:
        return Verdict("absent" if "attn_implementation" in str(error) else "refused", _short(error))
    except UllmeError as error:
        return Verdict("refused", _short(error))
    except Exception as error:
        return Verdict("failed", _first_line(error))
    row.kind = "encoder" if loaded.head is None and kind_of(model_type) != "decoder" else "decoder"
    if _looks_ahead_always(loaded):
        row.kind = "encoder"
    for note in _notes(loaded):
        if note not in row.notes:
            row.notes.append(note)
    try:
        subject = _subject(row, loaded, path, model_type, implementation)
    except UllmeError as error:
        row.notes.clear()
        if loaded.recurrent and not loaded.refusal:
            _try_partial(row, plugin, path, model_type, implementation, fast)
        return Verdict("refused", _short(error))
    except Exception as error:
        return Verdict("failed", _first_line(error))
    try:
        for mode in subject.modes:
            if reason := refused_by_probe(loaded, mode):
                return Verdict("refused", reason)
    except Exception as error:
        return Verdict("failed", _first_line(error))
    if not (subject.trains or fast or FLEX_UNTRAINED in row.notes):
        row.notes.append(FLEX_UNTRAINED)
    found = list(problems(subject, fast=fast))
    return Verdict("failed", "; ".join(found)) if found else Verdict("accepted")


def _load(plugin: str, path: Path, implementation: str, **more: Any) -> LoadedBackbone:
    cls: type[Backbone] = Registry().load("backbone", plugin)
    loaded = cls(cls.Config(path=str(path), attn_implementation=implementation, **more)).load()
    loaded.model.eval()
    return loaded


def _subject(row: Row, loaded: LoadedBackbone, path: Path, model_type: str, implementation: str) -> Subject:
    registry = Registry()
    modes = [registry.load("attention", registry.index.defaults[mode])() for mode in ("embed", "generate")]
    for mode in modes if row.kind == "decoder" else modes[:1]:
        mode.install(loaded)
    stock = None
    if model_type != "nvembed":
        import transformers

        maker = "AutoModel" if row.kind == "encoder" and kind_of(model_type) == "decoder" else _tiny.made_by(model_type)
        stock = getattr(transformers, maker).from_pretrained(path, attn_implementation=implementation).eval()
    return Subject(loaded, modes[0], modes[1] if row.kind == "decoder" else None, stock)


def _try_partial(row: Row, plugin: str, path: Path, model_type: str, implementation: str, fast: bool) -> None:
    """What `allow_partial` gives for a hybrid, as a note."""
    try:
        loaded = _load(plugin, path, implementation, allow_partial=True)
        subject = _subject(row, loaded, path, model_type, implementation)
        reach = probe_attention(loaded, subject.ahead)
        found = [reason] if (reason := reach.problem(subject.ahead, "bidirectional", partial=True)) else []
        found += problems(subject, fast=fast)
    except Exception as error:
        found = [_first_line(error)]
    if found:
        note = f"fails with `allow_partial`: {found[0]}"
    else:
        ahead, all_layers = sum(reach.sees_future), len(reach.sees_future)
        note = f"with `allow_partial` {ahead} of its {all_layers} layers look ahead, wholly or in part"
    if note not in row.notes:
        row.notes.append(note)


def _looks_ahead_always(loaded: LoadedBackbone) -> bool:
    return getattr(loaded.body.config, "use_bidirectional_attention", None) in (True, "all")


def _notes(loaded: LoadedBackbone) -> Iterator[str]:
    config = loaded.body.config
    if loaded.symmetric_length is not None:
        yield "sparse attention: bidirectional for texts within its top-k, or its block"
    if loaded.symmetric_bias is not None:
        yield "ALiBi made symmetric"
    local = windows(config)
    if local:
        yield "sees its chunk, both ways" if local == "chunks" else "sliding window, on both sides"
    if not loaded.flash:
        yield "no flash attention"
    if not getattr(loaded.model, "supports_gradient_checkpointing", False):
        yield "no gradient checkpointing"
    if isinstance(loaded.lora_targets, str) and loaded.lora_targets != "all-linear":
        yield "LoRA not on every linear layer"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _short(error: Exception) -> str:
    """The first sentence that matters, without paths of temporary files."""
    text = str(error).splitlines()[0]
    first, _, rest = text.partition(" ")
    return (rest if first.rstrip(":").isidentifier() and first[:1].isupper() else text).rstrip(".")


@contextmanager
def _silent() -> Iterator[None]:
    """No warnings of models that were never meant to be this small."""
    own = logging.getLogger("ullme_plugins")
    level = own.level
    own.setLevel(logging.ERROR)
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        own.setLevel(level)
