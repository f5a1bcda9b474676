"""What families do to the numbers that their language-model head gives."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Logits = Callable[["Tensor"], "Tensor"]


def times(factor: float | None) -> Logits | None:
    """Logits multiplied."""
    return None if factor in (None, 1) else lambda logits: logits * factor


def over(divisor: float | None) -> Logits | None:
    """Logits divided."""
    return None if divisor in (None, 1) else lambda logits: logits / divisor


def capped(cap: float | None) -> Logits | None:
    """Soft-capping: cap * tanh(logits / cap) (arXiv:2408.00118)."""
    return None if cap is None else lambda logits: (logits / cap).tanh() * cap


def candidates(config: Any) -> list[Logits | None]:
    """What a model with these settings may do to its logits, plain first; which it does, its own logits tell."""
    found: list[Logits | None] = [None]
    for name in ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap"):
        found.append(capped(getattr(config, name, None)))
    for name in ("logit_scale", "logits_scaling", "lm_head_multiplier"):
        found.append(times(getattr(config, name, None)))
    for name in ("logits_scaling", "logits_mup_width_multiplier"):
        found.append(over(getattr(config, name, None)))
    return [None, *(function for function in found if function is not None)]
