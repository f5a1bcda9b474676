"""Conformance of heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ullme.interfaces import Head
from ullme.testing.component import ComponentConformance
from ullme.testing.weights import check_initialisation, check_storage
from ullme.types import LoadedBackbone

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

SIZE, TEXTS = 8, 5


class HeadConformance(ComponentConformance):
    """Override the fixture `loaded` for a head that reads the backbone; vectors are as long as its `hidden_size`."""

    kind: ClassVar[str] = "head"

    @pytest.fixture
    def loaded(self) -> LoadedBackbone:
        """What the head is built for: by default an empty model that gives states of size 8."""
        from torch import nn

        model = nn.Identity()
        return LoadedBackbone(model, model, None, None, hidden_size=SIZE, max_length=1, blocks=[])

    @pytest.fixture
    def vectors(self, loaded: LoadedBackbone) -> Tensor:
        """Pooled vectors [5, hidden_size]."""
        import torch

        return torch.randn(TEXTS, loaded.hidden_size, generator=torch.Generator().manual_seed(0))

    @pytest.fixture
    def head(self, component: Head, loaded: LoadedBackbone) -> nn.Module:
        """The module, in evaluation mode."""
        built: nn.Module = _build(component, loaded)
        return built.eval()

    def test_gives_vectors_of_the_declared_size(self, component: Head, head: nn.Module, vectors: Tensor) -> None:
        """[n, size] -> [n, out_size(size)], in the dtype of the vectors."""
        import torch

        size = component.out_size(vectors.shape[1])
        assert size > 0
        for dtype in (torch.float32, torch.bfloat16):
            answer = head(vectors.to(dtype))
            assert list(answer.shape) == [TEXTS, size], f"out_size says {size}, found shape {list(answer.shape)}"
            assert answer.dtype == dtype, f"vectors are {dtype}, what it made of them {answer.dtype}"
        assert list(head(vectors[:0]).shape) == [0, size], "no vectors must give no vectors"

    def test_rows_do_not_depend_on_each_other(self, head: nn.Module, vectors: Tensor) -> None:
        """A text has the same vector in every batch, at every place."""
        import torch

        together = head(vectors)
        alone = torch.cat([head(vectors[row : row + 1]) for row in range(TEXTS)])
        torch.testing.assert_close(together, alone)
        torch.testing.assert_close(head(vectors.flip(0)).flip(0), together)

    def test_gives_the_same_again(self, head: nn.Module, vectors: Tensor) -> None:
        """In evaluation nothing is left to chance, and the vectors are left alone."""
        before = vectors.clone()
        assert head(vectors).equal(head(vectors)), "two calls on the same vectors differ"
        assert vectors.equal(before), "the vectors were changed"

    def test_gradient_reaches_every_vector_and_weight(self, head: nn.Module, vectors: Tensor) -> None:
        """The model learns through the head, and the head with it."""
        vectors.requires_grad_()
        head(vectors).square().sum().backward()
        assert vectors.grad is not None
        assert vectors.grad.isfinite().all()
        assert (vectors.grad.abs().sum(1) > 0).all(), "a vector gets no gradient"
        trained = {name: weight for name, weight in head.named_parameters() if weight.requires_grad}
        still = [name for name, weight in trained.items() if weight.grad is None or not weight.grad.any()]
        assert not still, f"weights without gradient: {', '.join(still)}"

    def test_weights_start_from_the_random_state(self, component: Head, loaded: LoadedBackbone) -> None:
        """The seed of a run decides the weights of a head."""
        check_initialisation(lambda: _build(component, loaded))

    def test_weights_are_saved_and_loaded(
        self, component: Head, loaded: LoadedBackbone, vectors: Tensor, tmp_path: Path
    ) -> None:
        """A trained head is what its state says, and the backbone it was built for; nothing else."""
        check_storage(lambda: _build(component, loaded), lambda head: head(vectors), tmp_path / "weights")

    def test_the_backbone_keeps_its_weights(self, component: Head, loaded: LoadedBackbone) -> None:
        """A head that uses a part of the backbone must not own it: it would be saved and trained twice."""
        owned = {id(weight) for weight in loaded.model.parameters()}
        twice = [name for name, weight in _build(component, loaded).named_parameters() if id(weight) in owned]
        assert not twice, f"weights of the backbone registered in the head: {', '.join(twice)}"


def _build(component: Head, loaded: LoadedBackbone) -> Any:
    from torch import nn

    head = component.build(loaded.hidden_size, loaded)
    assert isinstance(head, nn.Module), f"build() must give an nn.Module, found {type(head).__name__}"
    return head
