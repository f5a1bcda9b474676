"""Every token attends to itself and those before it: the model as it was trained, bit for bit."""

from contextlib import AbstractContextManager

from ullme import AttentionPatcher, Layout, LoadedBackbone
from ullme_plugins.attention import _mode


class Causal(AttentionPatcher):
    """Attention to the past only, exactly as the stock model computes it."""

    sees_future = False

    def install(self, loaded: LoadedBackbone) -> None:
        """Stock models are causal; the masks are wrapped for rows that several texts share."""
        _mode.install(loaded, ahead=False)

    def active(self, layout: Layout | None = None) -> AbstractContextManager[None]:
        """Stock attention for forward calls inside, also within a bidirectional context."""
        return _mode.active(_mode.Mode(document=layout.document if layout else None))
