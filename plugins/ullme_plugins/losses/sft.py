"""Supervised fine-tuning: write the passage, given the query."""

from ullme import Likelihood, Loss, LossInputs, Terms


class SFT(Loss):
    """Negative log-likelihood of each query's positives, averaged over their tokens (ULLME, L_SFT).

    L = - sum_p log p(p | q) / sum_p |p|. The query and the template carry no loss.
    """

    needs = (Likelihood("query", "document", pairs="positives"),)

    def __call__(self, batch: LossInputs) -> Terms:
        """One term per positive, counting for its tokens."""
        scores = batch.likelihood(self.needs[0])
        return Terms(-scores.total, counts=scores.tokens)
