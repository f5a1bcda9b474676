"""Mistral and Ministral.

Mistral 7B v0.1 has a window of 4096 tokens in every layer, which a longer text meets in both directions; v0.2 and later
have none. Ministral alternates windows and full attention. Instruct turns are [INST] ... [/INST].
"""

from ullme_plugins.backbones._hf import Decoder


class Mistral(Decoder):
    """Mistral 7B, Nemo, Small and Ministral; E5-Mistral, GritLM and Echo are built on it."""

    model_types = ("mistral", "ministral", "ministral3")
