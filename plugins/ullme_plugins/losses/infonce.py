"""InfoNCE: pick the positive among every candidate of the batch."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ullme import Loss, LossInputs, Terms, Vector

if TYPE_CHECKING:
    from torch import Tensor


class InfoNCE(Loss):
    """Contrastive loss with in-batch and hard negatives (van den Oord et al. 2018, arXiv:1807.03748).

    For a query q and each of its positives p:  -log  exp(s(q,p)/t) / (exp(s(q,p)/t) + sum_n exp(s(q,n)/t)),
    n over its own negatives and, with `in_batch`, every candidate of other queries that is not excluded. Another
    positive of the same query is never in the denominator.
    """

    class Config(Loss.Config):
        temperature: float = Field(0.05, gt=0, description="t: small values look only at the hardest negatives")
        similarity: Literal["cosine", "dot"] = Field("cosine", description="s")
        in_batch: bool = Field(True, description="candidates of other queries are negatives too")

    needs = (Vector("query"), Vector("document"))

    def __call__(self, batch: LossInputs) -> Terms:
        """One term per positive; `accuracy`: how often a positive beats all its negatives."""
        import torch
        from torch.nn.functional import normalize

        queries, candidates = batch.vector("query").float(), batch.vector("document").float()
        if self.config.similarity == "cosine":
            queries, candidates = normalize(queries, dim=-1), normalize(candidates, dim=-1)
        scores = queries @ candidates.T / self.config.temperature
        negative = ~batch.positive[None, :] & batch.own
        if self.config.in_batch:
            negative = negative | (~batch.own & ~batch.excluded)
        (chosen,) = batch.positive.nonzero(as_tuple=True)
        owner = batch.owner[chosen]
        own_score: Tensor = scores[owner, chosen]
        others = scores[owner].masked_fill(~negative[owner], -torch.inf)
        terms = torch.cat([own_score[:, None], others], 1).logsumexp(1) - own_score
        return Terms(terms, metrics={"accuracy": (own_score > others.amax(1)).float().mean()})
