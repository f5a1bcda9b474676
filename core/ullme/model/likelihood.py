"""log p of target tokens from hidden states, with the LM head applied to those positions only and in pieces.

[tokens, vocabulary] never exists whole. With a frozen head the gradient of each token's log-probability with respect
to its hidden state is computed while the piece's logits are there and kept, [T, d]; the backward is one product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Logits = Callable[[Tensor], Tensor]


def token_log_probs(
    head: nn.Module, hidden: Tensor, targets: Tensor, rows: int, transform: Logits | None = None
) -> Tensor:
    """log p(target) [T] in fp32 from hidden states [T, d]; logits exist for `rows` tokens at a time.

    `transform` is the family's own treatment of logits (soft-capping, scaling).
    """

    def score(states: Tensor, ids: Tensor) -> Tensor:
        logits = head(states)
        logits = logits if transform is None else transform(logits)
        return -nn.functional.cross_entropy(logits.float(), ids, reduction="none")

    pieces = list(zip(hidden.split(rows), targets.split(rows), strict=True))  # type: ignore[no-untyped-call]
    if not torch.is_grad_enabled():
        return torch.cat([score(*piece) for piece in pieces])
    if any(parameter.requires_grad for parameter in head.parameters()):
        return torch.cat([_recomputed(score, *piece) for piece in pieces])
    return torch.cat([_FrozenHead.apply(states, ids, score) for states, ids in pieces])  # type: ignore[no-untyped-call]


def _recomputed(score: Callable[[Tensor, Tensor], Tensor], states: Tensor, ids: Tensor) -> Tensor:
    return checkpoint(score, states, ids, use_reentrant=False)  # type: ignore[no-any-return]


class _FrozenHead(torch.autograd.Function):
    """Row t of the result depends on row t of the states alone, so one vector per row is the whole Jacobian."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, ids: Tensor, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        if not ctx.needs_input_grad[0]:
            return score(states, ids)
        with torch.enable_grad():
            leaf = states.detach().requires_grad_()
            result = score(leaf, ids)
            (jacobian,) = torch.autograd.grad(result.sum(), leaf)
        ctx.save_for_backward(jacobian)
        return result.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (jacobian,) = ctx.saved_tensors
        return jacobian * grads[0][:, None].to(jacobian.dtype), None, None
