"""Does a model read the masks that a mode changes? Asked at install by the modes that the probe cannot tell apart.

The probe sees whether a token reacts to the next one. A window, or a part that stays causal, shows in no such answer:
layers that build masks of their own (DeBERTa) and encoders (which are never causal) would ignore it in silence.
"""

from contextlib import AbstractContextManager

from ullme import AttentionError, AttentionPatcher, Layout, LoadedBackbone
from ullme_plugins.attention import _mode


class _Blind(AttentionPatcher):
    """A mode in which no token may see the next one."""

    sees_future = False

    def __init__(self, mode: _mode.Mode) -> None:
        super().__init__()
        self.mode = mode

    def install(self, loaded: LoadedBackbone) -> None:
        """Nothing: it is asked about, not used."""

    def active(self, layout: Layout | None = None) -> AbstractContextManager[None]:
        """The mode in question."""
        return _mode.active(self.mode)


def require_windows(loaded: LoadedBackbone, name: str) -> None:
    """Raise AttentionError unless every layer keeps to a window: through one of a single token nothing is seen."""
    _require(loaded, _mode.Mode(ahead=True, window=1), f"its layers take no window from outside, which {name} needs")


def require_causal(loaded: LoadedBackbone, name: str) -> None:
    """Raise AttentionError unless every layer is causal where it is left as it is."""
    _require(loaded, _mode.Mode(), f"it reads every text both ways, and {name} leaves a part of it causal")


def _require(loaded: LoadedBackbone, mode: _mode.Mode, otherwise: str) -> None:
    from ullme import probe_attention  # which imports torch

    if any(probe_attention(loaded, _Blind(mode)).sees_future):
        raise AttentionError(f"{type(loaded.model).__name__}: {otherwise}.\n  Use `attention: bidirectional`.")
