"""The training step: gradients of every loss through cached leaves (as GradCache, arXiv:2101.06983, does for vectors).

1. forward without gradient, chunk by chunk, remembering the random state before each -> leaves
2. every loss on the leaves of the whole batch; backward to the leaves only
3. forward again, chunk by chunk, under the remembered random state; backward with the cached leaf gradients

Memory is that of one chunk, whatever the batch. The last chunks that fit the budget together keep their graph from
pass 1 and skip the second forward, so a batch that fits one chunk is a plain forward and backward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ullme.loss_inputs import LogProbs, LossInputs
from ullme.model.embedder import Embedder
from ullme.train.batch import Batch
from ullme.train.plan import Job, computed, likelihood_jobs, scored_candidates, vector_jobs
from ullme.train.weighted import StepResult, WeightedLoss, weighted_sum
from ullme.types import Likelihood, Request, Vector


class CachedStep:
    """Adds the gradient of a weighted sum of losses to the parameters, in the memory of one chunk.

    `chunk_tokens` bounds the padded tokens whose activations live at once; `likelihood_fraction` is the fraction of a
    batch's queries whose candidates are scored for likelihood, drawn by `seed` and step.
    """

    def __init__(
        self,
        embedder: Embedder,
        losses: Sequence[WeightedLoss],
        *,
        chunk_tokens: int = 2048,
        max_tokens: int | None = None,
        likelihood_fraction: float = 1.0,
        frozen_reference: Embedder | None = None,
        seed: int = 0,
    ) -> None:
        self.embedder = embedder
        self.losses = losses
        self.chunk_tokens = chunk_tokens
        self.max_tokens = max_tokens
        self.likelihood_fraction = likelihood_fraction
        self.frozen_reference = frozen_reference
        self.seed = seed
        requests = [request for loss in losses for request in loss.needs]
        self.vectors = sorted({r for r in requests if isinstance(r, Vector)}, key=repr)
        self.likelihoods = sorted({computed(r) for r in requests if isinstance(r, Likelihood)}, key=repr)
        self.referenced = {computed(r) for r in requests if isinstance(r, Likelihood) and r.reference}

    def __call__(self, batch: Batch, *, step: int = 0, backward: bool = True) -> StepResult:
        """One step over `batch`. Raises TrainingError naming loss and rows if a loss is not finite.

        With `backward`, gradients are added to whatever `.grad` holds; without, only the numbers are computed.
        """
        scored = scored_candidates(batch, self.likelihood_fraction, self.seed, step)
        seen, cut = self.embedder.template.seen, self.embedder.template.truncated
        limits = self.max_tokens, self.chunk_tokens
        for_vectors = vector_jobs(self.embedder, batch, self.vectors, *limits)
        for_likelihoods, counts = likelihood_jobs(self.embedder, batch, self.likelihoods, scored, *limits)
        jobs = [*for_vectors, *for_likelihoods]
        reference = self._reference(for_likelihoods, len(scored))
        kept = self._kept(jobs) if backward else 0

        states, graphs = [], []
        leaves: dict[Request, Tensor] = {}
        sizes = {r: len(batch.examples) if r.role == "query" else len(batch.candidates) for r in self.vectors}
        for number, job in enumerate(jobs):
            states.append(_random_state(self.embedder.device))
            keep = number >= len(jobs) - kept
            with torch.set_grad_enabled(keep):
                result = self.embedder(job.call)
            graphs.append(result if keep else None)
            for (request, row), value in zip(job.rows, result.detach(), strict=True):
                if request not in leaves:
                    size = sizes[request] if isinstance(request, Vector) else len(scored)
                    leaves[request] = value.new_zeros(size, *value.shape)
                leaves[request][row] = value
        for leaf in leaves.values():
            leaf.requires_grad_(backward)

        inputs = self._inputs(batch, leaves, counts, reference, scored)
        with torch.set_grad_enabled(backward), torch.autocast(self.embedder.device.type, enabled=False):
            total, outcome = weighted_sum(self.losses, inputs, step, batch.ids)
        outcome.tokens = sum(len(text) for job in jobs for text in job.call.texts)
        outcome.texts = self.embedder.template.seen - seen
        outcome.truncated = self.embedder.template.truncated - cut
        if backward:
            total.backward()  # type: ignore[no-untyped-call]
            self._replay(jobs, states, graphs, leaves)
        return outcome

    def _kept(self, jobs: Sequence[Job]) -> int:
        """How many of the last jobs fit the budget together and so keep their graph."""
        total = 0
        for count, job in enumerate(reversed(jobs)):
            total += job.padded
            if total > self.chunk_tokens:
                return count
        return len(jobs)

    def _reference(self, jobs: Sequence[Job], size: int) -> dict[Request, Tensor]:
        """Summed log-probabilities under the model before training, for the requests that ask for them."""
        wanted = [job for job in jobs if job.rows[0][0] in self.referenced]
        if not wanted:
            return {}
        model = self.frozen_reference or self.embedder
        found: dict[Request, Tensor] = {}
        with torch.no_grad(), model.evaluating() if self.frozen_reference else model.reference():
            for job in wanted:
                for (request, row), value in zip(job.rows, model(job.call), strict=True):
                    found.setdefault(request, value.new_zeros(size))[row] = value
        return found

    def _inputs(
        self,
        batch: Batch,
        leaves: Mapping[Request, Tensor],
        counts: Mapping[Likelihood, Tensor],
        reference: Mapping[Request, Tensor],
        scored: list[int],
    ) -> LossInputs:
        device = self.embedder.device
        candidate = torch.tensor(scored, device=device)
        relevance = batch.relevance.to(device)
        positive = relevance[candidate] > 0
        likelihoods = {}
        for request in {r for loss in self.losses for r in loss.needs if isinstance(r, Likelihood)}:
            key = computed(request)
            before = reference[key] if request.reference else None
            scores = LogProbs(leaves[key], counts[key].to(device), candidate, before)
            likelihoods[request] = scores.rows(positive) if request.pairs == "positives" else scores
        vectors = {request: leaves[request] for request in self.vectors}
        return LossInputs(vectors, likelihoods, batch.owner.to(device), relevance, batch.excluded.to(device))

    def _replay(
        self,
        jobs: Sequence[Job],
        states: Sequence[_State],
        graphs: list[Tensor | None],
        leaves: Mapping[Request, Tensor],
    ) -> None:
        after = _random_state(self.embedder.device)
        order = sorted(range(len(jobs)), key=lambda i: graphs[i] is None)  # kept graphs first: they free their memory
        for number in order:
            job = jobs[number]
            gradient = torch.stack([_gradient(leaves[request])[row] for request, row in job.rows])
            if gradient.any():
                result = graphs[number]
                if result is None:
                    _set_random_state(states[number], self.embedder.device)
                    result = self.embedder(job.call)
                result.backward(gradient)
            graphs[number] = None
        _set_random_state(after, self.embedder.device)


_State = tuple[Tensor, Tensor | None]


def _random_state(device: torch.device) -> _State:
    if device.type == "cpu":
        return torch.get_rng_state(), None
    return torch.get_rng_state(), torch.get_device_module(device).get_rng_state()


def _set_random_state(state: _State, device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.get_device_module(device).set_rng_state(state[1])


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
