"""The module of learned attention pooling."""

import torch  # noqa: TID253  (imported by build() alone)
from torch import Tensor, nn  # noqa: TID253

from ullme_plugins.poolers._masked import weighted_mean


class AttentionPooling(nn.Module):
    """Learned queries [Q, d] attend to the marked tokens; the mean of their weights weighs the states."""

    def __init__(self, size: int, queries: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, size) * 0.02)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """[B, T, d] and [B, T] to [B, d] in the dtype of `hidden`; scores and softmax in fp32, also under autocast."""
        return weighted_mean(hidden, self.weights(hidden, mask))

    def weights(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """How much each token counts, [B, T]: 0 where `mask` is, otherwise a sum of 1 per row."""
        unmarked = ~mask.bool().unsqueeze(-1)
        with torch.autocast(hidden.device.type, enabled=False):
            states = hidden.masked_fill(unmarked, 0).to(torch.promote_types(hidden.dtype, torch.float32))
            scores = states @ self.queries.to(states.dtype).T * hidden.shape[-1] ** -0.5
            # The lowest number instead of -inf: a row without marked tokens stays finite, and is then set to 0.
            scores = scores.masked_fill(unmarked, torch.finfo(scores.dtype).min)
            return scores.softmax(1).masked_fill(unmarked, 0).mean(-1)
