"""Conformance of poolers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from ullme.interfaces import Pooler
from ullme.testing.component import ComponentConformance

if TYPE_CHECKING:
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

    def test_gives_one_vector_per_text(self, component: Pooler, texts: list[Tensor]) -> None:
        """[B, T, d] and [B, T] -> [B, d], in the dtype of the states."""
        import torch

        for dtype in (torch.float32, torch.bfloat16):
            pooled = component.build(HIDDEN_SIZE)
            vectors = pooled(*_batch([text.to(dtype) for text in texts], "right"))
            assert vectors.shape == (len(texts), HIDDEN_SIZE)
            assert vectors.dtype == dtype, f"states are {dtype}, vectors {vectors.dtype}"

    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize("extra", [0, 4])
    def test_padding_has_no_influence(self, component: Pooler, texts: list[Tensor], side: str, extra: int) -> None:
        """Vectors do not depend on padding side, padding length, what stands there, or batch mates."""
        import torch

        function = component.build(HIDDEN_SIZE)
        alone = torch.cat([function(*_batch([text], side)) for text in texts])
        torch.testing.assert_close(function(*_batch(texts, side, extra)), alone)

    def test_mask_may_be_of_any_type(self, component: Pooler, texts: list[Tensor]) -> None:
        """A tokenizer gives integers, a template booleans."""
        import torch

        function = component.build(HIDDEN_SIZE)
        hidden, mask = _batch(texts, "right")
        torch.testing.assert_close(function(hidden, mask.bool()), function(hidden, mask))

    def test_inputs_are_left_alone(self, component: Pooler, texts: list[Tensor]) -> None:
        """States and mask are read by others."""
        import torch

        hidden, mask = _batch(texts, "left")
        before = hidden.clone(), mask.clone()
        component.build(HIDDEN_SIZE)(hidden, mask)
        assert torch.equal(before[0], hidden), "the states were changed"
        assert torch.equal(before[1], mask), "the mask was changed"

    def test_gradient_reaches_every_text_and_no_padding(self, component: Pooler, texts: list[Tensor]) -> None:
        """Training moves the pooled tokens of each text, never a pad token."""
        hidden, mask = _batch(texts, "right")
        hidden.requires_grad_()
        component.build(HIDDEN_SIZE)(hidden, mask).square().sum().backward()  # type: ignore[no-untyped-call]
        assert hidden.grad is not None
        reached = hidden.grad.abs().sum(-1) > 0
        assert reached.any(1).all(), "a text gets no gradient"
        assert not reached[mask == 0].any(), "padding gets gradient"


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
