"""Direct preference optimisation over a query's passages."""

from typing import TYPE_CHECKING

from pydantic import Field

from ullme import Likelihood, Loss, LossInputs, Terms

if TYPE_CHECKING:
    from torch import Tensor


class DPO(Loss):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290).

    -log sigmoid(beta * [log p/p_ref (p+ | q) - log p/p_ref (p- | q)]), over every pair of a query's positive and one
    of its own negatives.
    """

    class Config(Loss.Config):
        beta: float = Field(0.1, gt=0, description="strength of the tie to the reference model")

    needs = (Likelihood("query", "document", reference=True),)
    needs_negatives = True

    def __call__(self, batch: LossInputs) -> Terms:
        """One term per preference; `accuracy`: how often the positive is likelier per token than the negative."""
        from torch.nn.functional import logsigmoid

        pairs = batch.preferences(self.needs[0])
        terms: Tensor = -logsigmoid(self.config.beta * pairs.margin)
        metrics = {
            "accuracy": (pairs.chosen.mean > pairs.rejected.mean).float().mean(),
            "reward_accuracy": (pairs.margin > 0).float().mean(),
        }
        return Terms(terms, metrics=metrics)
