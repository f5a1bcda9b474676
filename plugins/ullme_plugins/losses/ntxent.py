"""NT-Xent: every query and every passage of the batch picks its partner among all the others."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ullme import Loss, LossInputs, Terms, Vector

if TYPE_CHECKING:
    from torch import Tensor


class NTXent(Loss):
    """Normalised-temperature cross-entropy over all vectors of the batch (SimCLR, arXiv:2002.05709).

    A query and its positives are one class, every negative a class of its own. For each ordered pair (a, p) of a class:
    -log  exp(s(a,p)/t) / (exp(s(a,p)/t) + sum_n exp(s(a,n)/t)),  n over every vector of another class: queries and
    passages alike, unlike InfoNCE, which looks from queries at passages alone. The mean over pairs is
    pytorch-metric-learning's `NTXentLoss`. Rows that belong together (`excluded`) are never each other's negatives.
    """

    class Config(Loss.Config):
        temperature: float = Field(0.05, gt=0, description="t: small values look only at the hardest negatives")
        distance: Literal["cosine", "l2"] = Field(
            "cosine", description="s: cosine, or minus the distance of unit vectors"
        )

    needs = (Vector("query"), Vector("document"))

    def __call__(self, batch: LossInputs) -> Terms:
        """One term per ordered pair; `accuracy`: how often its partner is nearer to a vector than any negative."""
        import torch
        from torch.nn.functional import normalize

        vectors = normalize(torch.cat([batch.vector("query"), batch.vector("document")]).float(), dim=-1)  # [N, d]
        label = _labels(batch)
        (anchors,) = (label < len(batch.excluded)).nonzero(as_tuple=True)
        scores = self._similarity(vectors[anchors], vectors) / self.config.temperature  # [A, N]
        same = label[anchors, None] == label[None, :]
        others = scores.masked_fill(same | _apart(batch, label)[anchors], -torch.inf)
        same[torch.arange(len(anchors), device=label.device), anchors] = False  # nothing is its own partner
        row, partner = same.nonzero(as_tuple=True)
        own = scores[row, partner]
        terms = torch.logaddexp(own, others.logsumexp(1)[row]) - own
        return Terms(terms, metrics={"accuracy": (own > others.amax(1)[row]).float().mean()})

    def _similarity(self, anchors: "Tensor", vectors: "Tensor") -> "Tensor":
        """s of every anchor with every vector, [A, N]."""
        import torch

        if self.config.distance == "cosine":
            return anchors @ vectors.T
        # By differences: through the product, as cdist does for many rows, near vectors lose their distance.
        return -torch.cdist(anchors, vectors, compute_mode="donot_use_mm_for_euclid_dist")


def _labels(batch: LossInputs) -> "Tensor":
    """Classes [N] of queries, then candidates: the number of the query, above B for a negative."""
    import torch

    queries, size = batch.excluded.shape
    every = torch.arange(queries + size, device=batch.owner.device)
    return torch.cat([every[:queries], torch.where(batch.positive, batch.owner, every[queries:])])


def _apart(batch: LossInputs, label: "Tensor") -> "Tensor":
    """Pairs [N, N] of vectors that belong together though their classes differ: neither may be pushed from the other.

    `excluded` says it of queries and candidates. A positive stands where its query stands, and two queries belong
    together when a positive of one is excluded for the other.
    """
    import torch

    queries = len(batch.excluded)
    owned = batch.own & batch.positive  # [B, C]
    together = (batch.excluded.float() @ owned.float().T) > 0  # [B, B]
    rows = torch.cat([together, batch.excluded], 1)  # [B, N]
    (anchors,) = (label < queries).nonzero(as_tuple=True)
    apart = torch.zeros(len(label), len(label), dtype=torch.bool, device=label.device)
    apart[anchors] = rows[label[anchors]]
    return apart | apart.T
