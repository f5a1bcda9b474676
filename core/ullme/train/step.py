"""The training step: gradients of every loss through cached leaves (as GradCache, arXiv:2101.06983, does for vectors).

1. forward without gradient, chunk by chunk, remembering the random state before each -> leaves
2. every loss on the leaves of the whole batch; backward to the leaves only
3. forward again, chunk by chunk, under the remembered random state; backward with the cached leaf gradients

Memory is that of one chunk, whatever the batch. The last chunks that fit the budget together keep their graph from
pass 1 and skip the second forward, so a batch that fits one chunk is a plain forward and backward.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ullme.errors import TrainingError
from ullme.loss_inputs import LogProbs, LossInputs, Terms
from ullme.model.embedder import Embedder, LikelihoodCall, VectorCall
from ullme.model.tokens import Tokens, chunks
from ullme.plugins.blame import blamed
from ullme.train.batch import Batch
from ullme.types import Likelihood, Request, Vector

LossFunction = Callable[[LossInputs], Tensor | Terms]


@dataclass(frozen=True)
class WeightedLoss:
    """A loss of the sum: its name in the log, its factor, what it needs, the function itself, and whose it is."""

    label: str
    weight: float
    needs: tuple[Request, ...]
    function: LossFunction
    who: str = "a loss"


@dataclass(frozen=True)
class Job:
    """One model call: `rows[i]` says which leaf, and which of its rows, the i-th result of the call is."""

    call: VectorCall | LikelihoodCall
    rows: Sequence[tuple[Request, int]]

    @property
    def padded(self) -> int:
        """Tokens including padding: what the call costs in memory."""
        return len(self.call.texts) * max(len(text) for text in self.call.texts)


@dataclass
class StepResult:
    """Plain numbers of one step: the weighted sum, each loss unweighted, metrics; tokens without padding; texts, and
    how many of them were cut."""

    loss: float
    losses: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    texts: int = 0
    truncated: int = 0


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
        self.likelihoods = sorted({_scored(r) for r in requests if isinstance(r, Likelihood)}, key=repr)
        self.referenced = {_scored(r) for r in requests if isinstance(r, Likelihood) and r.reference}

    def __call__(self, batch: Batch, *, step: int = 0, backward: bool = True) -> StepResult:
        """One step over `batch`. Raises TrainingError naming loss and rows if a loss is not finite.

        With `backward`, gradients are added to whatever `.grad` holds; without, only the numbers are computed.
        """
        scored = self._scored_pairs(batch, step)
        seen, cut = self.embedder.template.seen, self.embedder.template.truncated
        vector_jobs, likelihood_jobs, counts = self._plan(batch, scored)
        jobs = [*vector_jobs, *likelihood_jobs]
        reference = self._reference(likelihood_jobs, len(scored))
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
            total, outcome = self._losses(inputs, batch, step)
        outcome.tokens = sum(len(text) for job in jobs for text in job.call.texts)
        outcome.texts = self.embedder.template.seen - seen
        outcome.truncated = self.embedder.template.truncated - cut
        if backward:
            total.backward()  # type: ignore[no-untyped-call]
            self._replay(jobs, states, graphs, leaves)
        return outcome

    # ---- plan -----------------------------------------------------------------------------------------------------

    def _scored_pairs(self, batch: Batch, step: int) -> list[int]:
        """The candidates whose likelihood is computed: those of a seeded sample of the queries, chosen per step."""
        count = len(batch.examples)
        sample = max(1, round(count * self.likelihood_fraction))
        draw = random.Random(f"{self.seed}/likelihood/{step}")
        chosen = set(range(count) if sample == count else draw.sample(range(count), sample))
        return [i for i, owner in enumerate(batch.owner.tolist()) if owner in chosen]

    def _plan(self, batch: Batch, scored: list[int]) -> tuple[list[Job], list[Job], dict[Likelihood, Tensor]]:
        template, limit = self.embedder.template, self.max_tokens
        instructions = [example.instruction or self.embedder.prompt("query") for example in batch.examples]
        owner = batch.owner.tolist()
        roles: dict[str, list[Tokens]] = {}
        for role in {request.role for request in self.vectors}:
            if role == "query":
                roles[role] = template.embed(batch.queries, role, instructions, limit)
            else:
                roles[role] = template.embed(batch.candidates, role, self.embedder.prompt(role), limit)
        vector_jobs: list[Job] = []
        items: list[tuple[Request, int, Tokens]]
        for layer in sorted({request.layer for request in self.vectors}):
            items = [(r, i, text) for r in self.vectors if r.layer == layer for i, text in enumerate(roles[r.role])]
            vector_jobs += self._jobs(items, partial(VectorCall, layer=layer))

        likelihood_jobs: list[Job] = []
        counts: dict[Likelihood, Tensor] = {}
        for request in self.likelihoods:
            sides = [{"query": batch.queries[owner[c]], "document": batch.candidates[c]} for c in scored]
            pairs = [(side[request.prefix], side[request.target]) for side in sides]
            texts = template.likelihood(pairs, [instructions[owner[c]] for c in scored], limit)
            counts[request] = torch.tensor([sum(text.target[1:]) for text in texts], dtype=torch.float32)
            items = [(request, i, text) for i, text in enumerate(texts)]
            likelihood_jobs += self._jobs(items, partial(LikelihoodCall, attention=request.attention))
        return vector_jobs, likelihood_jobs, counts

    def _jobs(
        self,
        items: Sequence[tuple[Request, int, Tokens]],
        call: Callable[[list[Tokens]], VectorCall | LikelihoodCall],
    ) -> list[Job]:
        plan = chunks([len(text) for _, _, text in items], self.chunk_tokens)
        return [Job(call([items[i][2] for i in group]), [items[i][:2] for i in group]) for group in plan]

    def _kept(self, jobs: Sequence[Job]) -> int:
        """How many of the last jobs fit the budget together and so keep their graph."""
        total = 0
        for count, job in enumerate(reversed(jobs)):
            total += job.padded
            if total > self.chunk_tokens:
                return count
        return len(jobs)

    # ---- the three passes -----------------------------------------------------------------------------------------

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
            key = _scored(request)
            before = reference[key] if request.reference else None
            scores = LogProbs(leaves[key], counts[key].to(device), candidate, before)
            likelihoods[request] = scores.rows(positive) if request.pairs == "positives" else scores
        vectors = {request: leaves[request] for request in self.vectors}
        return LossInputs(vectors, likelihoods, batch.owner.to(device), relevance, batch.excluded.to(device))

    def _losses(self, inputs: LossInputs, batch: Batch, step: int) -> tuple[Tensor, StepResult]:
        outcome = StepResult(0.0)
        total = torch.zeros((), device=self.embedder.device)
        for loss in self.losses:
            with blamed(loss.who):
                answer = loss.function(inputs)
            terms = answer if isinstance(answer, Terms) else Terms(answer)
            count = len(terms.values) if terms.counts is None else terms.counts.sum()
            value = terms.values.sum() / count if count else terms.values.new_full((), torch.nan)
            if not torch.isfinite(value):
                cause = f"is {float(value.detach())}" if count else "has no terms"
                raise TrainingError(
                    f"step {step}: loss {loss.label!r} {cause}; rows {batch.ids}."
                    "\n  The weights were not changed and the last checkpoint is valid. Look at these rows, lower the"
                    " learning rate, or use a wider precision."
                )
            total = total + loss.weight * value
            outcome.losses[loss.label] = float(value.detach())
            outcome.metrics |= {f"{loss.label}/{name}": float(number) for name, number in terms.metrics.items()}
        outcome.loss = float(total.detach())
        return total, outcome

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


def _scored(request: Likelihood) -> Likelihood:
    """The request that is computed for `request`: every own pair, policy only. Losses get their part of it."""
    return Likelihood(request.prefix, request.target, request.attention)


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
