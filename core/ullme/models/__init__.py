"""The model of the paper's listings: a plain PyTorch module that gives vectors, or the language model's own logits.

model = ULLME(model_name_or_path="mistralai/Mistral-7B-v0.1", model_backbone_type="mistral", lora_name="mine")
model(input_ids=ids, attention_mask=mask)                       # {"rep": [B, hidden]}
model(input_ids=ids, attention_mask=mask, is_generate=True)     # {"logits": [B, T, vocabulary]}
"""

from ullme.models.module import ULLME
from ullme.models.wrapped import WrappedULLME

__all__ = ["ULLME", "WrappedULLME"]
