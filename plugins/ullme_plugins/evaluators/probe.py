"""The attention self-test as a report: what every layer really sees, mode by mode."""

from typing import TYPE_CHECKING

from ullme import EvalContext, EvalReport, Evaluator, Score

if TYPE_CHECKING:
    from ullme import Embedder


class Probe(Evaluator):
    """Whether each layer attends as configured, and whether padding changes anything."""

    def evaluate(self, embedder: "Embedder", context: EvalContext) -> EvalReport:
        """Per attention mode: the share of layers that let a token see the next one, and the effect of padding."""
        from ullme import probe_attention

        report = EvalReport("probe", context.when)
        for mode, patcher in embedder.modes.items():
            finding = probe_attention(embedder.loaded, patcher)
            layers = finding.sees_future
            right = sum(sees == patcher.sees_future for sees in layers) / len(layers)
            report.scores.append(Score(f"probe {mode}", "layers_as_configured", right))
            report.scores.append(
                Score(f"probe {mode}", "padding_effect", finding.padding_error, higher_is_better=False)
            )
            report.details[mode] = {"sees_future": list(layers), "expected": patcher.sees_future}
        return report
