"""The module of latent attention. Parameters are named as in NV-Embed's checkpoints."""

import torch  # noqa: TID253  (imported by build() alone)
from torch import Tensor, nn  # noqa: TID253

from ullme_plugins.poolers._masked import weighted_mean


class LatentAttentionPooling(nn.Module):
    """Cross-attention to `latents` [L, d] and an MLP, each with layer norm before and residual after; then the mean.

    It computes on the marked tokens alone: no token has an influence on another before the mean.
    """

    def __init__(self, size: int, latents: int, heads: int, head_size: int, mlp_ratio: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, size))
        attention = _Normed(size, _CrossAttention(size, heads, head_size), context=True)
        self.cross_attend_blocks = nn.ModuleList([attention, _Normed(size, _MLP(size, mlp_ratio))])

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """[B, T, d] and [B, T] to [B, d], in the dtype of `hidden`; 0 for a row without marked tokens."""
        marked = mask.bool()
        attention, mlp = self.cross_attend_blocks
        tokens = hidden[marked].to(self.latents.dtype)
        tokens = tokens + attention(tokens, self.latents)
        tokens = tokens + mlp(tokens)
        states = tokens.new_zeros(hidden.shape).index_put(marked.nonzero(as_tuple=True), tokens)
        return weighted_mean(states, marked).to(hidden.dtype)


class _Normed(nn.Module):
    """A function after layer norm of its input and, if it has one, of its context."""

    def __init__(self, size: int, fn: nn.Module, context: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        if context:
            self.norm_context = nn.LayerNorm(size)
        self.fn = fn

    def forward(self, tokens: Tensor, *context: Tensor) -> Tensor:
        return self.fn(self.norm(tokens), *(self.norm_context(each) for each in context))  # type: ignore[no-any-return]


class _CrossAttention(nn.Module):
    """Tokens [n, d] ask, latents [L, d] answer; no projection has a bias."""

    def __init__(self, size: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(size, heads * head_size, bias=False)
        self.to_kv = nn.Linear(size, 2 * heads * head_size, bias=False)
        self.to_out = nn.Linear(heads * head_size, size, bias=False)

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        # The latents are the same for every text, so their keys and values are computed once a call.
        queries, keys, values = (
            projected.unflatten(-1, (self.heads, -1)).transpose(0, 1)
            for projected in (self.to_q(tokens), *self.to_kv(latents).chunk(2, dim=-1))
        )
        attended = nn.functional.scaled_dot_product_attention(queries, keys, values)
        return self.to_out(attended.transpose(0, 1).flatten(1))  # type: ignore[no-any-return]


class _MLP(nn.Module):
    """Half of the first layer's output gates the other half (GEGLU, arXiv:2002.05202)."""

    def __init__(self, size: int, ratio: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(size, 2 * ratio * size), _GEGLU(), nn.Linear(ratio * size, size))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.net(tokens)  # type: ignore[no-any-return]


class _GEGLU(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        values, gates = tokens.chunk(2, dim=-1)
        return values * nn.functional.gelu(gates)
