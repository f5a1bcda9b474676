"""Jina embeddings v3: XLM-RoBERTa-large with rotary position, 8192 tokens, and LoRA per task.

Read as transformers has it (type `jina_embeddings_v3`, the `-hf` publication). The first publication (type
`xlm-roberta` with code of its own) is another layout. The adapters of the tasks are the model's, not the backbone's.
"""

from ullme_plugins.backbones._hf import Encoder


class JinaV3(Encoder):
    """jina-embeddings-v3 in the form that transformers reads."""

    model_types = ("jina_embeddings_v3",)
