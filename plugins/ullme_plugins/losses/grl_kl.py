"""GRL's agreement term: the relevance that the vectors see and the relevance that the likelihoods see."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ullme import Likelihood, Loss, LossInputs, Vector

if TYPE_CHECKING:
    from torch import Tensor


class GRLKL(Loss):
    """KL between representation and generation relevance over a query's own candidates (ULLME, arXiv:2408.03402).

    P_rt = softmax of cos(q, p), P_gen = softmax of the token-mean log p(p | q), both over U, the query's positives
    and negatives; L = sum_p P_rt log(P_rt / P_gen), with gradients into both. One term per query.
    """

    class Config(Loss.Config):
        direction: Literal["rt-gen", "gen-rt"] = Field("rt-gen", description="KL(P_rt || P_gen), or the other way")
        rt_temperature: float = Field(1.0, gt=0, description="divides the cosines")
        gen_temperature: float = Field(1.0, gt=0, description="divides the token-mean log-probabilities")
        stop_gradient: Literal["none", "rt", "gen"] = Field("none", description="the side that gets no gradient")

    needs = (Vector("query"), Vector("document"), Likelihood("query", "document"))
    needs_negatives = True

    def __call__(self, batch: LossInputs) -> "Tensor":
        """One term per query with scored candidates, in fp32."""
        import torch
        from torch.nn.functional import cosine_similarity

        scores = batch.likelihood(self.needs[2])
        owner = batch.owner[scores.candidate]
        queries, candidates = batch.vector("query")[owner].float(), batch.vector("document")[scores.candidate].float()
        rt = cosine_similarity(queries, candidates, dim=-1) / self.config.rt_temperature
        gen = scores.mean.float() / self.config.gen_temperature
        rt = rt.detach() if self.config.stop_gradient == "rt" else rt
        gen = gen.detach() if self.config.stop_gradient == "gen" else gen

        present, group = owner.unique(return_inverse=True)
        own = group[None, :] == torch.arange(len(present), device=group.device)[:, None]  # [queries, pairs]
        log_rt, log_gen = (s.expand_as(own).masked_fill(~own, -1e9).log_softmax(1) for s in (rt, gen))
        log_p, log_q = (log_rt, log_gen) if self.config.direction == "rt-gen" else (log_gen, log_rt)
        return (log_p.exp() * (log_p - log_q)).masked_fill(~own, 0).sum(1)
