"""How losses pull on the weights: norms and angles of their gradients on one held-out batch."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ullme import Choice, ConfigError, EvalContext, EvalReport, Evaluator, Score, Slot

if TYPE_CHECKING:
    from ullme import Embedder


class Gradients(Evaluator):
    """Gradient of each loss and of their weighted sum: norms, and the cosine of each with the sum."""

    class Config(Evaluator.Config):
        source: Annotated[Choice, Slot("source")] = Field(description="where the rows come from")
        losses: list[Annotated[Choice, Slot("loss")]] = Field(min_length=1, description="weighted as in training")
        rows: int = Field(16, gt=0, description="rows of the one batch")
        batch_tokens: int = Field(2048, gt=0, description="padded tokens a model call")
        max_tokens: int | None = Field(None, gt=0, description="tokens per text")

    def evaluate(self, embedder: "Embedder", context: EvalContext) -> EvalReport:
        """Without dropout. Gradients that stood in the parameters are set aside and put back."""
        import torch

        from ullme import CachedStep, build_losses, load_source, make_batch

        parameters = list(embedder.trainable().values())
        if not parameters:
            raise ConfigError("evaluator 'gradients': the model has no trainable weights; give it an `adapter:`")
        batch = make_batch(load_source(self.config.source.build())[: self.config.rows])
        held = [parameter.grad for parameter in parameters]
        parts = {}
        with embedder.evaluating():
            for loss in build_losses(self.config.losses):
                for parameter in parameters:
                    parameter.grad = None
                step = CachedStep(
                    embedder, [loss], chunk_tokens=self.config.batch_tokens, max_tokens=self.config.max_tokens
                )
                step(batch)
                flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
                parts[loss.label] = torch.cat([gradient.double().flatten() for gradient in flat])
        for parameter, gradient in zip(parameters, held, strict=True):
            parameter.grad = gradient
        total = torch.stack(list(parts.values())).sum(0)
        scores = []
        for label, part in {**parts, "sum": total}.items():
            scores.append(Score("gradients", f"norm {label}", float(part.norm())))
            if label != "sum":
                cosine = torch.nn.functional.cosine_similarity(part, total, dim=0)
                scores.append(Score("gradients", f"cosine {label} with sum", float(cosine)))
        return EvalReport("gradients", context.when, scores, {"rows": len(batch.examples)})
