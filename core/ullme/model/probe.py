"""Does a model really attend as it was told? Asked layer by layer, at load time, and refused if it does not.

Every block is run again on its own input, moved at one position: its output at the position before must move where a
later token may be seen, and must not where it may not. The neighbouring position is used because sliding windows
reach it too. Then padding on either side must leave the states unchanged. Two more forwards in all, no gradient.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ullme.errors import AttentionError
from ullme.interfaces import AttentionPatcher
from ullme.model.states import computes_in, hidden_states, takes_positions
from ullme.types import Layout, LoadedBackbone

LENGTH = 11  # unlike any usual hidden size, so that the sequence dimension is recognised by its length
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 6e-2}


@dataclass(frozen=True)
class Finding:
    """`sees_future` per block; `padding_error` is the largest change by padding, relative to the largest state."""

    sees_future: tuple[bool, ...]
    padding_error: float
    tolerance: float

    def problem(self, patcher: AttentionPatcher, name: str, *, partial: bool = False) -> str | None:
        """Why this model does not attend as `patcher` says, or None. `partial`: some layers may stay causal."""
        wrong = self.unlike(patcher)
        if wrong and not (partial and patcher.sees_future and any(self.sees_future)):
            does = "does not let a token see the next one" if patcher.sees_future else "lets a token see the next one"
            return f"{name} attention: {len(wrong)} of {len(self.sees_future)} layers ({_some(wrong)}) {does}"
        if not self.padding_error <= self.tolerance:
            return f"{name} attention: states change with padding (by {self.padding_error:.2g} of the largest state)"
        return None

    def unlike(self, patcher: AttentionPatcher) -> list[int]:
        """The blocks that do not attend as `patcher` says."""
        return [i for i, sees in enumerate(self.sees_future) if sees != patcher.sees_future]


def probe_attention(loaded: LoadedBackbone, patcher: AttentionPatcher) -> Finding:
    """Look at every block under `patcher`. The model's mode, gradients and random state are left as they were."""
    was_training = loaded.model.training
    loaded.model.eval()
    try:
        with patcher.active():
            return Finding(_reach(loaded), *_padding(loaded))
    finally:
        loaded.model.train(was_training)


def require(loaded: LoadedBackbone, patcher: AttentionPatcher, name: str) -> Finding:
    """Probe and raise AttentionError if the model does not attend as it should."""
    finding = probe_attention(loaded, patcher)
    partial = bool(loaded.recurrent) and loaded.allow_partial
    if problem := finding.problem(patcher, name, partial=partial):
        raise AttentionError(
            f"{type(loaded.model).__name__}: {problem}.\n  It would silently be another model than the one asked for."
            "\n  Choose another attention, another attn_implementation (eager, sdpa), or another backbone."
        )
    if partial and patcher.sees_future:
        causal = finding.unlike(patcher)
        which = f"layers {_some(causal)} stay causal" if causal else "parts of every layer stay causal"
        warnings.warn(
            f"{type(loaded.model).__name__} under {name} attention: {which} ({', '.join(loaded.recurrent)}),"
            " as `allow_partial` accepts",
            stacklevel=2,
        )
    return finding


def why_not_packed(loaded: LoadedBackbone, patcher: AttentionPatcher) -> str:
    """What about this model keeps texts from sharing a row under `patcher`; empty if nothing does."""
    if not takes_positions(loaded):
        return "takes no position ids"
    if loaded.recurrent:
        return "carries a state from left to right"
    return "" if _keeps_apart(loaded, patcher) else "has layers that build masks of their own"


def _keeps_apart(loaded: LoadedBackbone, patcher: AttentionPatcher) -> bool:
    """Whether every layer keeps texts of one row apart: of texts of one token, none sees another."""
    was_training = loaded.model.training
    loaded.model.eval()
    try:
        with patcher.active(Layout(document=torch.arange(1, LENGTH + 1, device=_device(loaded))[None])):
            return not any((*_reach(loaded, 1, 0), *_reach(loaded, 0, 1)))
    finally:
        loaded.model.train(was_training)


@torch.no_grad()
def _reach(loaded: LoadedBackbone, moved: int = 1, watched: int = 0) -> tuple[bool, ...]:
    """Per block: does its output at `watched` move with its input at `moved`?"""
    calls: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = []
    handles = [
        block.register_forward_pre_hook(lambda *call: calls.append(call), with_kwargs=True) for block in loaded.blocks
    ]
    try:
        hidden_states(loaded, *_text(loaded))
    finally:
        for handle in handles:
            handle.remove()
    idle = {id(block) for block in loaded.blocks} - {id(block) for block, _, _ in calls}
    if idle:
        raise AttentionError(f"{type(loaded.model).__name__}: {len(idle)} of its layers take no part in a call")
    try:
        return tuple(_sees(*call, moved, watched) for call in calls)  # some models run a layer several times
    except (RuntimeError, ValueError, TypeError, LookupError) as exc:
        raise AttentionError(
            f"{type(loaded.model).__name__}: what its layers attend to cannot be asked: {str(exc).splitlines()[0]}"
        ) from exc


def _sees(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], moved: int, watched: int) -> bool:
    """Run one block again with its input moved at one position; does its output move at the other?"""
    states: Tensor = args[0] if args else kwargs["hidden_states"]
    other = states.clone()
    _position(other, moved).add_(torch.linspace(-1, 1, states.shape[-1], device=states.device, dtype=states.dtype))
    outputs = []
    for given in (states, other):
        output = block(given, *args[1:], **kwargs) if args else block(**{**kwargs, "hidden_states": given})
        outputs.append((output[0] if isinstance(output, tuple | list) else output).float())
    change = outputs[1] - outputs[0]
    # A mixture of experts regroups tokens and so moves others by rounding: ask for more than that.
    return bool(_position(change, watched).abs().max() > 1e-5 * _position(change, moved).abs().max())


@torch.no_grad()
def _padding(loaded: LoadedBackbone) -> tuple[float, float]:
    ids, mask = _text(loaded)
    plain = hidden_states(loaded, ids, mask)[0].float()
    empty = torch.zeros(1, 3, dtype=ids.dtype, device=ids.device)
    worst = 0.0
    sides = [((ids, empty), slice(0, LENGTH)), ((empty, ids), slice(3, None))]
    for pair, real in sides[: 1 if loaded.recurrent else 2]:  # a carried state sees padding before it: ours is behind
        marks = tuple(torch.zeros_like(part) if part is empty else mask for part in pair)
        padded = hidden_states(loaded, torch.cat(pair, 1), torch.cat(marks, 1))[0, real].float()
        worst = max(worst, float((padded - plain).abs().max() / plain.abs().max()))
    return worst, _TOLERANCE[computes_in(loaded)]


def _device(loaded: LoadedBackbone) -> torch.device:
    return next(loaded.body.parameters()).device


def _text(loaded: LoadedBackbone) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    device = _device(loaded)
    config: Any = loaded.body.config
    ids = torch.randint(3, min(config.vocab_size, 1000), (1, LENGTH), generator=generator).to(device)
    return ids, torch.ones_like(ids)


def _position(states: Tensor, position: int) -> Tensor:
    """The states at a position, whatever dimension holds the sequence."""
    dims = [d for d, size in enumerate(states.shape[:-1]) if size == LENGTH]
    if not dims:
        raise ValueError(f"states of shape {list(states.shape)} for a text of {LENGTH} tokens")
    return states.select(dims[0], position)


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (" ..." if len(numbers) > 8 else "")
