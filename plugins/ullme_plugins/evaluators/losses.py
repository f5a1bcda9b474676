"""Losses and their metrics on held-out rows: preference accuracy, KL, contrastive accuracy."""

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ullme import Choice, ConfigError, EvalContext, EvalReport, Evaluator, Score, Slot

if TYPE_CHECKING:
    from ullme import Embedder


class Losses(Evaluator):
    """Any losses, and the accuracies they report, on rows that training did not see."""

    class Config(Evaluator.Config):
        source: Annotated[Choice, Slot("source")] = Field(
            description="where the rows come from; take its held-out part"
        )
        losses: list[Annotated[Choice, Slot("loss")]] = Field(min_length=1, description="what to compute")
        batch_size: int = Field(32, gt=0, description="rows a batch: in-batch losses depend on it")
        batch_tokens: int = Field(4096, gt=0, description="padded tokens a model call")
        max_tokens: int | None = Field(None, gt=0, description="tokens per text")

    def check(self, embedder: "Embedder") -> None:
        """Raises ConfigError for losses that this model cannot serve."""
        from ullme import build_losses, check_model

        if check_model(build_losses(self.config.losses), embedder, "evaluator 'losses'"):
            raise ConfigError(
                "evaluator 'losses': without an `adapter:` there is no reference model left after training;"
                " leave out the losses that compare with one"
            )

    def evaluate(self, embedder: "Embedder", context: EvalContext) -> EvalReport:
        """Means over batches, weighted by their rows, without dropout or gradient. No random number is drawn."""
        from ullme import CachedStep, build_losses, load_source, make_batch

        examples = load_source(self.config.source.build())
        step = CachedStep(
            embedder,
            build_losses(self.config.losses),
            chunk_tokens=self.config.batch_tokens,
            max_tokens=self.config.max_tokens,
        )
        values: dict[str, float] = defaultdict(float)
        metrics: dict[str, float] = defaultdict(float)
        with embedder.evaluating():
            for start in range(0, len(examples), self.config.batch_size):
                rows = examples[start : start + self.config.batch_size]
                result = step(make_batch(rows), backward=False)
                for sums, numbers in ((values, result.losses), (metrics, result.metrics)):
                    for name, value in numbers.items():
                        sums[name] += value * len(rows) / len(examples)
        scores = [Score("held-out", name, value, higher_is_better=False) for name, value in values.items()]
        scores += [Score("held-out", name, value) for name, value in metrics.items()]
        return EvalReport("losses", context.when, scores, {"rows": len(examples)})
