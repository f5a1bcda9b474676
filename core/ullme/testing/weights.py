"""Checks on what has weights of its own: a built pooler, a built head."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def check_initialisation(build: Callable[[], Any]) -> None:
    """What `build` gives is drawn from torch's random state and from nothing else."""
    first, again = _state(_seeded(build, 0)), _state(_seeded(build, 0))
    assert first.keys() == again.keys()
    different = [name for name, tensor in first.items() if not tensor.equal(again[name])]
    assert not different, f"the same seed gave other weights: {', '.join(different)}"


def check_storage(build: Callable[[], Any], use: Callable[[Any], Tensor], file: Path) -> None:
    """The state of what `build` gives, written as safetensors, makes another one give the same."""
    import torch
    from safetensors.torch import load_file, save_file

    trained = _seeded(build, 0)
    expected = use(trained)
    state = _state(trained)
    if not state:
        assert use(_seeded(build, 1)).equal(expected), "it has no weights, but depends on the random state"
        return
    save_file(state, file)
    other = _seeded(build, 1)
    other.load_state_dict(load_file(file))
    torch.testing.assert_close(use(other), expected, atol=0, rtol=0, msg="weights were saved and loaded")


def _seeded(build: Callable[[], Any], seed: int) -> Any:
    """What `build` gives under a seed, without an influence on the random state outside."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = build()
    return made.eval() if isinstance(made, nn.Module) else made


def _state(made: Any) -> dict[str, Tensor]:
    from torch import nn

    return dict(made.state_dict()) if isinstance(made, nn.Module) else {}
