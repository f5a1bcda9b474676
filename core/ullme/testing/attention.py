"""Conformance of attention modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ullme.interfaces import AttentionPatcher
from ullme.testing.component import ComponentConformance

if TYPE_CHECKING:
    from torch import Tensor

    from ullme.types import LoadedBackbone


class AttentionConformance(ComponentConformance):
    """Override the fixture `loaded` to give a small model that the mode can be installed in."""

    kind: ClassVar[str] = "attention"

    @pytest.fixture
    def loaded(self) -> LoadedBackbone:
        """A model of a few layers with random weights, in fp32 and eval mode, freshly made for each test."""
        raise NotImplementedError("override the fixture `loaded` with a small model")

    def test_a_later_token_moves_an_earlier_state_as_declared(
        self, component: AttentionPatcher, loaded: LoadedBackbone
    ) -> None:
        """`sees_future` is what the load-time probe goes by."""
        component.install(loaded)
        with component.active():
            first, other = (_states(loaded, tokens)[:, 0] for tokens in _two_texts())
        moved = not first.equal(other)
        assert moved == component.sees_future, f"sees_future is {component.sees_future}, but the first state " + (
            "moved with the last token" if moved else "did not move with the last token"
        )

    def test_nothing_changes_outside_the_context(self, component: AttentionPatcher, loaded: LoadedBackbone) -> None:
        """The model's own behaviour is bit-equal before installing, and after the context, also after an error."""
        tokens = _two_texts()[0]
        before = _states(loaded, tokens)
        component.install(loaded)
        assert _states(loaded, tokens).equal(before), "install() alone changed the model"
        with component.active():
            _states(loaded, tokens)
        assert _states(loaded, tokens).equal(before), "the mode outlived its context"
        with pytest.raises(ZeroDivisionError), component.active():
            _ = 1 / 0
        assert _states(loaded, tokens).equal(before), "the mode outlived an error inside its context"

    def test_modes_do_not_mix(self, component: AttentionPatcher, loaded: LoadedBackbone) -> None:
        """Entering twice, or installing twice, is the same as once."""
        tokens = _two_texts()[0]
        component.install(loaded)
        with component.active():
            once = _states(loaded, tokens)
        component.install(loaded)
        with component.active(), component.active():
            assert _states(loaded, tokens).equal(once)

    def test_padding_has_no_influence(self, component: AttentionPatcher, loaded: LoadedBackbone) -> None:
        """Real tokens have the same states with and without pad tokens behind them."""
        import torch

        tokens = _two_texts()[0]
        padded = torch.cat([tokens, torch.ones_like(tokens)], 1)
        mask = (torch.arange(padded.shape[1]) < tokens.shape[1])[None].long()
        component.install(loaded)
        with component.active():
            alone, behind = _states(loaded, tokens), _states(loaded, padded, mask)
        torch.testing.assert_close(behind[:, : tokens.shape[1]], alone, atol=1e-5, rtol=1e-4)


def _two_texts() -> tuple[Tensor, Tensor]:
    """Token ids [1, 6] that differ in the last place only."""
    import torch

    text = torch.tensor([[2, 3, 4, 5, 6, 7]])
    other = text.clone()
    other[0, -1] = 8
    return text, other


def _states(loaded: LoadedBackbone, tokens: Tensor, mask: Tensor | None = None) -> Any:
    import torch

    mask = torch.ones_like(tokens) if mask is None else mask
    with torch.no_grad():
        return loaded.body(input_ids=tokens, attention_mask=mask).last_hidden_state
