"""Conformance of backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ullme.errors import UllmeError
from ullme.interfaces import Backbone, Component
from ullme.testing.component import ComponentConformance

if TYPE_CHECKING:
    from pathlib import Path

    from ullme.types import LoadedBackbone


class BackboneConformance(ComponentConformance):
    """Override the fixture `settings` to save a small random model and return its `path`."""

    kind: ClassVar[str] = "backbone"

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        """Settings that load a model of a few layers with random weights, in fp32."""
        raise NotImplementedError("override the fixture `settings` with the path of a small saved model")

    @pytest.fixture
    def loaded(self, component: Backbone) -> LoadedBackbone:
        """The loaded model in eval mode."""
        loaded = component.load()
        loaded.model.eval()
        return loaded

    def test_body_gives_states_of_the_declared_size(self, loaded: LoadedBackbone) -> None:
        """[B, T] token ids -> [B, T, hidden_size]."""
        import torch

        tokens = torch.tensor([[2, 3, 4], [5, 6, 7]])
        states = loaded.body(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        assert states.shape == (2, 3, loaded.hidden_size)

    def test_head_gives_the_logits_of_the_model(self, loaded: LoadedBackbone) -> None:
        """Likelihoods are computed from body, head and `logits`: together they must be the model's own logits."""
        import torch

        if loaded.head is None:
            pytest.skip("an encoder has no likelihoods")
        tokens = torch.tensor([[2, 3, 4, 5]])
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        with torch.no_grad():
            mine = loaded.head(loaded.body(**inputs).last_hidden_state)
            mine = loaded.logits(mine) if loaded.logits else mine
            torch.testing.assert_close(mine, loaded.model(**inputs).logits)

    def test_facts_are_usable(self, loaded: LoadedBackbone) -> None:
        """The probe walks `blocks`; texts are cut at `max_length`; the tokenizer reads and writes text."""
        assert loaded.max_length > 0
        assert len(loaded.blocks) > 0
        inside = {id(module) for module in loaded.model.modules()}
        assert all(id(block) in inside for block in loaded.blocks), "blocks must be modules of the model"
        assert len(loaded.tokenizer("some text")["input_ids"]) > 0

    def test_loads_the_same_again(self, component: Backbone, loaded: LoadedBackbone) -> None:
        """No part of the model is left to chance."""
        again = component.load().model.state_dict()
        assert all(tensor.equal(again[name]) for name, tensor in loaded.model.state_dict().items())

    def test_a_missing_model_is_reported(self, cls: type[Component], settings: dict[str, Any], tmp_path: Path) -> None:
        """A user who mistypes a path gets a message, not a traceback."""
        backbone: Any = cls(cls.Config.model_validate({**settings, "path": str(tmp_path / "missing")}))
        with pytest.raises(UllmeError, match="missing"):
            backbone.load()
