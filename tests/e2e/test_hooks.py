"""Lifecycle hooks in a run: called when listed, in order, with what they were promised; blamed when they fail."""

from __future__ import annotations

import pytest
from pipelines import pipeline, process, write, write_rows

GOOD = '''
from ullme import Hooks


def note(text):
    with open("{log}", "a") as file:
        file.write(text + "\\n")


class Diary(Hooks):
    """Writes down what happens."""

    def ullme_config_ready(self, pipeline):
        note(f"config {{pipeline.stages[0].name}}")

    def ullme_component_built(self, kind, name, component):
        note(f"built {{kind}} {{name}} {{type(component).__name__}}")

    def ullme_train_callbacks(self, run):
        from lightning.pytorch import Callback

        class Count(Callback):
            def on_train_end(self, trainer, module):
                note(f"callback {{trainer.global_step}}")

        return [Count()]

    def ullme_before_train(self, run):
        note(f"before {{run.stage.name}} {{len(run.examples)}}")

    def ullme_after_train(self, run):
        note(f"after {{(run.out_dir / 'trained.safetensors').exists()}}")

    def ullme_after_evaluate(self, report):
        note(f"report {{report.evaluator}} {{len(report.scores)}}")
'''


@pytest.fixture
def make(tiny_models, tmp_path):
    def made(source: str, listed: bool = True):
        (tmp_path / "diary.py").write_text(
            source.replace("{log}", str(tmp_path / "log")).replace("{{", "{").replace("}}", "}")
        )
        content = pipeline(tiny_models("llama"), write_rows(tmp_path / "rows.jsonl"), tmp_path / "run", max_steps=2)
        content["evaluate"] = ["probe"]
        content["hooks"] = ["diary"] if listed else []
        file = write(tmp_path / "hooks.yaml", content)
        return process("--plugin", "hook:diary=diary:Diary", "run", file, "--no-progress", PYTHONPATH=str(tmp_path))

    return made


def test_every_hook_is_called_in_its_moment(make, tmp_path):
    done = make(GOOD)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text().splitlines() == [
        "config grl",
        "built source jsonl JsonLines",
        "built backbone llama Llama",
        "built attention bidirectional Bidirectional",
        "built attention causal Causal",
        "built pooler mean Mean",
        "before grl 40",
        "built loss infonce InfoNCE",
        "built loss dpo DPO",
        "built loss grl-kl GRLKL",
        "callback 2",
        "after True",
        "built evaluator probe Probe",
        "report probe 4",
        "built exporter ullme UllmeDirectory",
    ]


def test_a_hook_that_is_not_listed_is_not_called(make, tmp_path):
    assert make(GOOD, listed=False).returncode == 0
    assert not (tmp_path / "log").exists()


def test_a_misspelt_hook_is_refused_with_the_right_name(make):
    done = make(GOOD.replace("ullme_before_train", "ullme_befor_train"))
    assert done.returncode == 2
    assert "there is no hook 'ullme_befor_train'. Did you mean 'ullme_before_train'?" in done.stderr


def test_a_failing_hook_stops_the_run_and_is_named(make, tmp_path):
    done = make(GOOD.replace('note(f"before {{run.stage.name}} {{len(run.examples)}}")', 'raise ValueError("no")'))
    assert done.returncode == 2
    assert "hook 'diary' (" in done.stderr
    assert "failed in ullme_before_train: ValueError: no" in done.stderr
