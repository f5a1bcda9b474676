"""Conformance of poolers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ullme.interfaces import Pooler
from ullme.testing.component import ComponentConformance
from ullme.testing.weights import check_initialisation, check_storage

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

HIDDEN_SIZE = 8


class PoolerConformance(ComponentConformance):
    """One vector per text that depends on the text's own tokens only."""

    kind: ClassVar[str] = "pooler"

    @pytest.fixture
    def texts(self) -> list[Tensor]:
        """Token states [n, 8] of three texts of 5, 1 and 3 tokens."""
        import torch

        generator = torch.Generator().manual_seed(0)
        return [torch.randn(n, HIDDEN_SIZE, generator=generator) for n in (5, 1, 3)]

    def test_layers_are_numbers_of_hidden_states(self, component: Pooler) -> None:
        """What it is given is their mean: there must be one at least, each counted once."""
        layers = component.layers
        assert layers, "name one layer at least; (-1,) is the last"
        assert all(type(layer) is int for layer in layers), f"expected whole numbers, found {layers}"
        assert len(set(layers)) == len(layers), f"a layer is named twice: {layers}"

    def test_gives_one_vector_per_text(self, component: Pooler, texts: list[Tensor]) -> None:
        """[B, T, d] and [B, T] -> [B, d], in the dtype of the states."""
        import torch

        for dtype in (torch.float32, torch.bfloat16):
            pooled = component.build(HIDDEN_SIZE)
            vectors = _pool(component, pooled, *_batch([text.to(dtype) for text in texts], "right"))
            assert vectors.shape == (len(texts), HIDDEN_SIZE)
            assert vectors.dtype == dtype, f"states are {dtype}, vectors {vectors.dtype}"

    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize("extra", [0, 4])
    def test_padding_has_no_influence(self, component: Pooler, texts: list[Tensor], side: str, extra: int) -> None:
        """Vectors do not depend on padding side, padding length, what stands there, or batch mates."""
        import torch

        function = component.build(HIDDEN_SIZE)
        alone = torch.cat([_pool(component, function, *_batch([text], side)) for text in texts])
        torch.testing.assert_close(_pool(component, function, *_batch(texts, side, extra)), alone)

    def test_tokens_that_are_not_pooled_are_not_read(self, component: Pooler, texts: list[Tensor]) -> None:
        """An instruction is attended to by the model; its states are no part of the vector."""
        import torch

        function = component.build(HIDDEN_SIZE)
        hidden, real = _batch(texts, "right", extra=2)
        pooled = real.clone()
        pooled[0, :2] = pooled[0, 3] = 0  # what is pooled starts late, and has a gap
        other = hidden.masked_fill(pooled.unsqueeze(-1) == 0, -7.0)
        expected = _pool(component, function, hidden, pooled, real)
        torch.testing.assert_close(_pool(component, function, other, pooled, real), expected)

    def test_a_text_without_pooled_tokens_gives_zero(self, component: Pooler, texts: list[Tensor]) -> None:
        """Not NaN, which would reach every other text of a batch through the loss."""
        function = component.build(HIDDEN_SIZE)
        hidden, real = _batch(texts, "right")
        hidden.requires_grad_()
        pooled = real.clone()
        pooled[1] = 0
        vectors = _pool(component, function, hidden, pooled, real)
        assert not vectors[1].any(), f"expected zeros, found {vectors[1].tolist()}"
        vectors.square().sum().backward()  # type: ignore[no-untyped-call]
        assert hidden.grad is not None
        assert hidden.grad.isfinite().all(), "its gradient is not finite"

    def test_mask_may_be_of_any_type(self, component: Pooler, texts: list[Tensor]) -> None:
        """A tokenizer gives integers, a template booleans."""
        import torch

        function = component.build(HIDDEN_SIZE)
        hidden, mask = _batch(texts, "right")
        expected = _pool(component, function, hidden, mask)
        for other in (mask.bool(), mask.int(), mask.float()):
            torch.testing.assert_close(_pool(component, function, hidden, other, mask), expected)

    def test_inputs_are_left_alone(self, component: Pooler, texts: list[Tensor]) -> None:
        """States and mask are read by others."""
        import torch

        hidden, mask = _batch(texts, "left")
        before = hidden.clone(), mask.clone()
        _pool(component, component.build(HIDDEN_SIZE), hidden, mask)
        assert torch.equal(before[0], hidden), "the states were changed"
        assert torch.equal(before[1], mask), "the mask was changed"

    def test_gradient_reaches_every_text_and_no_padding(self, component: Pooler, texts: list[Tensor]) -> None:
        """Training moves the pooled tokens of each text, never a pad token."""
        hidden, mask = _batch(texts, "right")
        hidden.requires_grad_()
        vectors = _pool(component, component.build(HIDDEN_SIZE), hidden, mask)
        vectors.square().sum().backward()  # type: ignore[no-untyped-call]
        assert hidden.grad is not None
        reached = hidden.grad.abs().sum(-1) > 0
        assert reached.any(1).all(), "a text gets no gradient"
        assert not reached[mask == 0].any(), "padding gets gradient"

    def test_weights_start_from_the_random_state(self, component: Pooler) -> None:
        """The seed of a run decides the weights of a pooler that has some."""
        check_initialisation(lambda: component.build(HIDDEN_SIZE))

    def test_weights_are_saved_and_loaded(self, component: Pooler, texts: list[Tensor], tmp_path: Path) -> None:
        """A trained pooler that has weights is what its state says, and nothing else."""
        batch = _batch(texts, "right")
        check_storage(
            lambda: component.build(HIDDEN_SIZE), lambda pooled: _pool(component, pooled, *batch), tmp_path / "weights"
        )


def _pool(component: Pooler, function: Any, hidden: Tensor, mask: Tensor, real: Tensor | None = None) -> Tensor:
    """Call `function` as the embedder does; `real` marks what is no padding (default: what is pooled)."""
    if not component.reads_positions:
        return function(hidden, mask)  # type: ignore[no-any-return]
    positions = (mask if real is None else real).long().cumsum(1) - 1
    return function(hidden, mask, positions.clamp(min=0))  # type: ignore[no-any-return]


def _batch(texts: list[Tensor], side: str, extra: int = 0) -> tuple[Tensor, Tensor]:
    """States and mask of the texts, padded on one side with large values that must not be seen."""
    import torch

    length = max(map(len, texts)) + extra
    hidden = torch.full((len(texts), length, HIDDEN_SIZE), 1e4, dtype=texts[0].dtype)
    mask = torch.zeros(len(texts), length, dtype=torch.long)
    for row, text in enumerate(texts):
        place = slice(0, len(text)) if side == "right" else slice(length - len(text), length)
        hidden[row, place] = text
        mask[row, place] = 1
    return hidden, mask
