"""Learned attention: the model decides in training which tokens make the vector."""

from typing import TYPE_CHECKING

from pydantic import Field

from ullme import ComponentConfig, Pooler

if TYPE_CHECKING:
    from torch import nn


class LearnedAttention(Pooler):
    """Mean of the token states weighted by learned queries' attention to them (arXiv:1703.03130).

    a_qt = softmax_t(h_t . q / sqrt(d)) over the pooled tokens;  vector = sum_t h_t mean_q a_qt. Queries start small, so
    that training starts close to the plain mean. It is meant to be trained: it comes with no weights.
    """

    class Config(ComponentConfig):
        queries: int = Field(1, gt=0, description="learned queries, whose weights are averaged")

    def build(self, hidden_size: int) -> "nn.Module":
        """A module with `queries` x `hidden_size` weights, drawn from torch's random state."""
        from ullme_plugins.poolers._attention import AttentionPooling

        return AttentionPooling(hidden_size, self.config.queries)
