"""Is what was written the model? Read back, compared with the reference, and with the base model where one trained.

The failure that this is for: an adapter whose weights are silently left out, so that the copy is the base model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ullme.errors import ExportError
from ullme.model.reference import Encode, Reference, compare, reference

if TYPE_CHECKING:
    import numpy as np

    from ullme.model.embedder import Embedder


def base_reference(embedder: Embedder) -> Reference | None:
    """What the model under the adapter gives; None where no adapter can be switched off."""
    if embedder.adapter is None:
        return None
    with embedder.unadapted():
        return reference(embedder)


def adapter_is_trained(embedder: Embedder) -> bool:
    """Whether any adapter adds anything: LoRA starts with B = 0 and then adds nothing."""
    if embedder.adapter is None:
        return False
    return any(
        bool(parameter.count_nonzero()) for name, parameter in embedder.adapter.named_parameters() if "lora_B" in name
    ) or any("lora_embedding_A" in name and bool(p.count_nonzero()) for name, p in embedder.adapter.named_parameters())


def require_faithful(
    encode: Encode, wanted: Reference, embedder: Embedder, folder: Path, say: Callable[[str], None] | None = None
) -> None:
    """Raise ExportError unless `encode`, the copy in `folder`, gives the vectors of `wanted`.

    Also where an adapter was trained and changes no vector. That an adapter is untrained is only said.
    """
    base = base_reference(embedder)
    vectors = {name: encode(role.texts, name) for name, role in wanted.roles.items()}
    differences = compare(wanted, lambda texts, role: vectors[role])
    lost = base is not None and adapter_is_trained(embedder) and _is_rather(base, wanted, vectors)
    if lost or not all(difference.within for difference in differences):
        listed = "; ".join(str(one) for one in differences if lost or not one.within)
        why = "those of the base model: the adapter was lost" if lost else "not those of the model"
        raise ExportError(
            f"{folder}: read back, its vectors are {why} ({listed}).\n"
            f"  Expected {wanted.tolerance}. What was written is not kept."
        )
    if base is None:
        return
    unchanged = all((wanted.roles[name].vectors == role.vectors).all() for name, role in base.roles.items())
    if unchanged and adapter_is_trained(embedder):
        raise ExportError(
            f"{folder}: the adapter has trained weights, but every vector is that of the base model: it is switched"
            " off, or sits where no vector passes."
        )
    if unchanged and say is not None:
        say("the adapter is untrained: its vectors are those of the base model")


def _is_rather(base: Reference, wanted: Reference, vectors: Mapping[str, np.ndarray]) -> bool:
    """Whether a copy is the base model within a quarter of what parts it from the trained one, in most texts.

    Relative, because half precision blurs copies by more than some adapters change.
    """
    if any(vectors[name].shape != role.vectors.shape for name, role in wanted.roles.items()):
        return False
    return 4 * _away(base, vectors) < _away(wanted, vectors)


def _away(reference: Reference, vectors: Mapping[str, np.ndarray]) -> float:
    import numpy as np

    return float(
        np.median(
            np.concatenate([np.abs(vectors[name] - role.vectors).max(1) for name, role in reference.roles.items()])
        )
    )
