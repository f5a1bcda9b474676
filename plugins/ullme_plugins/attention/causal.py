"""Every token attends to itself and those before it: the model as it was trained, bit for bit."""

from contextlib import AbstractContextManager

from ullme import AttentionPatcher, LoadedBackbone
from ullme_plugins.attention import _mode


class Causal(AttentionPatcher):
    """Attention to the past only, exactly as the stock model computes it."""

    sees_future = False

    def install(self, loaded: LoadedBackbone) -> None:
        """Nothing to change: stock models are causal."""

    def active(self) -> AbstractContextManager[None]:
        """Stock attention for forward calls inside, also within a bidirectional context."""
        return _mode.symmetric(False)
