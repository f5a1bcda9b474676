"""Which model calls answer the requests of a batch: texts tokenised once, in length-sorted chunks under a budget."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ullme.model.embedder import Embedder, LikelihoodCall, VectorCall
from ullme.model.tokens import Tokens, chunks
from ullme.train.batch import Batch
from ullme.types import Likelihood, Request, Vector


@dataclass(frozen=True)
class Job:
    """One model call: `rows[i]` says which leaf, and which of its rows, the i-th result of the call is."""

    call: VectorCall | LikelihoodCall
    rows: Sequence[tuple[Request, int]]

    @property
    def padded(self) -> int:
        """Tokens including padding: what the call costs in memory."""
        return len(self.call.texts) * max(len(text) for text in self.call.texts)


def computed(request: Likelihood) -> Likelihood:
    """The request that is computed for `request`: every own pair, policy only. Losses get their part of it."""
    return Likelihood(request.prefix, request.target, request.attention)


def scored_candidates(batch: Batch, fraction: float, seed: int, step: int) -> list[int]:
    """The candidates whose likelihood is computed: those of a `fraction` of the queries, drawn by seed and step."""
    count = len(batch.examples)
    sample = max(1, round(count * fraction))
    draw = random.Random(f"{seed}/likelihood/{step}")
    chosen = set(range(count) if sample == count else draw.sample(range(count), sample))
    return [i for i, owner in enumerate(batch.owner.tolist()) if owner in chosen]


def vector_jobs(
    embedder: Embedder, batch: Batch, requests: Sequence[Vector], max_tokens: int | None, budget: int
) -> list[Job]:
    """Calls for the vectors of queries and candidates; texts of both roles share a call."""
    texts: dict[str, list[Tokens]] = {}
    for role in {request.role for request in requests}:
        if role == "query":
            texts[role] = embedder.template.embed(batch.queries, role, _instructions(embedder, batch), max_tokens)
        else:
            texts[role] = embedder.template.embed(batch.candidates, role, embedder.prompt(role), max_tokens)
    jobs = []
    for layer, adapter in sorted({(request.layer, embedder.route(request.role)) for request in requests}, key=repr):
        together = [r for r in requests if (r.layer, embedder.route(r.role)) == (layer, adapter)]
        items = [(r, i, text) for r in together for i, text in enumerate(texts[r.role])]
        jobs += _jobs(items, partial(VectorCall, layer=layer, adapter=adapter), budget)
    return jobs


def likelihood_jobs(
    embedder: Embedder,
    batch: Batch,
    requests: Sequence[Likelihood],
    scored: Sequence[int],
    max_tokens: int | None,
    budget: int,
) -> tuple[list[Job], dict[Likelihood, Tensor]]:
    """Calls for the likelihoods of the `scored` candidates, and the number of target tokens of each, [P]."""
    owner, prompts = batch.owner.tolist(), _instructions(embedder, batch)
    sides = [{"query": batch.queries[owner[c]], "document": batch.candidates[c]} for c in scored]
    jobs, counts = [], {}
    for request in requests:
        pairs = [(side[request.prefix], side[request.target]) for side in sides]
        texts = embedder.template.likelihood(pairs, [prompts[owner[c]] for c in scored], max_tokens)
        counts[request] = torch.tensor([sum(text.target[1:]) for text in texts], dtype=torch.float32)
        items = [(request, i, text) for i, text in enumerate(texts)]
        jobs += _jobs(items, partial(LikelihoodCall, attention=request.attention), budget)
    return jobs, counts


def _instructions(embedder: Embedder, batch: Batch) -> list[str]:
    """A row's own instruction, or the model's prompt for queries."""
    return [example.instruction or embedder.prompt("query") for example in batch.examples]


def _jobs(
    items: Sequence[tuple[Request, int, Tokens]],
    call: Callable[[list[Tokens]], VectorCall | LikelihoodCall],
    budget: int,
) -> list[Job]:
    groups = chunks([len(text) for _, _, text in items], budget)
    return [Job(call([items[i][2] for i in group]), [items[i][:2] for i in group]) for group in groups]
