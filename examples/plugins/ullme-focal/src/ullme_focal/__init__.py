"""A loss for ullme, found by name once this distribution is installed."""

from pydantic import Field

from ullme import Likelihood, Loss


class FocalDPO(Loss):
    """DPO whose pairs weigh (1 - p)^gamma, p the probability that the policy prefers the right passage."""

    class Config(Loss.Config):
        beta: float = Field(0.1, gt=0, description="strength of the tie to the reference model")
        gamma: float = Field(2.0, ge=0, description="0 is plain DPO; larger looks only at pairs that are still wrong")

    needs = (Likelihood("query", "document", reference=True),)
    needs_negatives = True

    def __call__(self, batch):
        logits = self.config.beta * batch.preferences(self.needs[0]).margin
        return -((-logits).sigmoid() ** self.config.gamma) * logits.sigmoid().clamp_min(1e-30).log()
