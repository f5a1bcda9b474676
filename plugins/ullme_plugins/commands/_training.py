"""The half of the self-test that trains: gradients, checkpointing, LoRA."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from ullme import LoadedBackbone
from ullme.model.states import hidden_states
from ullme_plugins.commands._subject import CLOSE, Subject, distance, padded, windows

if TYPE_CHECKING:
    from torch import Tensor


def gradients(subject: Subject) -> str | None:
    """The first state of a text has a gradient to every token when it looks ahead, to itself alone when not.

    Four tokens fit every window and chunk; without one there are nine, beyond what a block of sparse attention holds.
    """
    import torch

    length = 4 if windows(subject.loaded.body.config) else 9
    ids, mask = padded(subject.tokens(length, 7))
    for mode in subject.modes:
        embedded: list[Tensor] = []
        handles = [table.register_forward_hook(partial(_made_leaf, embedded)) for table in _tables(subject.loaded)]
        try:
            with mode.active(), torch.enable_grad():
                hidden_states(subject.loaded, ids, mask)[0, 0].pow(2).sum().backward()
        finally:
            for handle in handles:
                handle.remove()
            subject.loaded.model.zero_grad(set_to_none=True)
        assert embedded[0].grad is not None
        reached = (embedded[0].grad[0].abs().amax(-1) > 0).tolist()
        expected = [True] + [mode.sees_future] * (length - 1)
        if reached != expected and not (mode.sees_future and subject.loaded.recurrent):
            return f"the first state reaches tokens {_numbers(reached)}, expected {_numbers(expected)}"
    return None


def _tables(loaded: LoadedBackbone) -> list[Any]:
    """The modules that turn token ids into vectors: T5 has one table under two names."""
    body: Any = loaded.body
    weight = body.get_input_embeddings().weight
    return [module for module in body.modules() if getattr(module, "weight", None) is weight]


def _made_leaf(embedded: list[Tensor], module: Any, args: Any, output: Tensor) -> Tensor:
    embedded.append(output.detach().requires_grad_())
    return embedded[-1].clone()  # some models go on in place


def _numbers(flags: list[bool]) -> str:
    return ", ".join(str(place) for place, flag in enumerate(flags) if flag) or "none"


def checkpointing(subject: Subject) -> str | None:
    """Layers recomputed after the mode has been left give the same gradients."""
    model: Any = subject.loaded.model
    if not getattr(model, "supports_gradient_checkpointing", False):
        return None
    plain = _weight_gradients(subject)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        recomputed = _weight_gradients(subject)
    finally:
        model.gradient_checkpointing_disable()
    if plain.keys() != recomputed.keys():
        return f"{len(plain.keys() ^ recomputed.keys())} weights have a gradient in one of the two only"
    worst = max(distance(recomputed[name], grad) for name, grad in plain.items())
    return None if worst <= CLOSE else f"gradients differ by {worst:.1g}"


def _weight_gradients(subject: Subject) -> dict[str, Tensor]:
    """Of every weight that has one worth comparing, in training mode."""
    import torch

    model = subject.loaded.model
    model.train()
    try:
        with subject.ahead.active(), torch.enable_grad():
            states = hidden_states(subject.loaded, *padded(subject.tokens(6, 3), subject.tokens(4, 4)))
        states[:, 1].pow(2).sum().backward()
        grads = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        return {name: grad for name, grad in grads.items() if grad.abs().max() > 1e-6}
    finally:
        model.zero_grad(set_to_none=True)
        model.eval()


def lora(subject: Subject) -> str | None:
    """LoRA on the family's targets: three steps bring the loss down, and every adapter gets a gradient."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    targets = subject.loaded.lora_targets
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = subject.loaded.model
        adapted: Any = get_peft_model(model, LoraConfig(r=4, target_modules=targets))
    weights = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    if not weights:
        return f"targets {targets!r} match nothing"
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-2)
    texts = padded(subject.tokens(8, 1), subject.tokens(8, 2))
    losses = []
    for _ in range(4):
        with subject.ahead.active(), torch.enable_grad():
            vectors = torch.nn.functional.normalize(hidden_states(subject.loaded, *texts).mean(1), dim=-1)
        loss = vectors[0] @ vectors[1]
        losses.append(float(loss))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    without = [name for name, weight in weights.items() if weight.grad is None]
    if without:
        return f"{len(without)} adapter weights get no gradient (such as {without[0]})"
    return None if losses[-1] < losses[0] else f"the loss does not fall: {losses[0]:.4f} to {losses[-1]:.4f}"
