"""What a run refuses: one clear message, exit code 2, no traceback, earlier outputs untouched."""

from __future__ import annotations

import json
import shutil

from pipelines import process, ullme


def refused(*arguments, **env) -> str:
    done = process(*arguments, **env) if env else ullme(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_another_configuration_in_the_same_folder(make):
    file = make()
    assert ullme("run", file, "--no-progress").returncode == 0
    message = refused("run", file, "--set", "stages.0.trainer.lr=0.5")
    assert "holds a run of another configuration" in message
    assert "stages.0.trainer.lr: 0.01 there, 0.5 here" in message


def test_frozen_without_a_lock_and_with_other_plugins(make, tmp_path):
    file = make()
    assert "does not exist" in refused("run", file, "--frozen")
    assert ullme("run", file, "--no-progress").returncode == 0
    lock = tmp_path / "run" / "plugins.lock"
    content = json.loads(lock.read_text())
    content["plugins"][0]["version"] = "0.0.9"
    lock.write_text(json.dumps(content))
    assert "0.0.9" in refused("run", file, "--frozen")
    warned = ullme("run", file, "--no-progress")
    assert warned.returncode == 0
    assert "0.0.9" in warned.stdout


def test_rows_without_negatives_before_any_weights(make):
    def change(content):
        content["model"]["backbone"]["path"] = "nowhere/at/all"

    message = refused("run", make(negatives=0, change=change))
    assert "loss 'dpo' compares a positive with negatives" in message
    assert "sample_negatives: 1" in message


def test_likelihoods_of_an_encoder(make, tiny_models):
    def change(content):
        content["model"]["backbone"] = {"use": "bert", "path": str(tiny_models("bert"))}

    assert "likelihoods, which an encoder does not give" in refused("run", make(change=change))


def test_a_model_of_another_family(make, tiny_models):
    def change(content):
        content["model"]["backbone"]["path"] = str(tiny_models("gpt_neox"))

    assert "holds a 'gpt_neox' model" in refused("run", make(change=change))


def test_pickle_weights(make, tiny_models, tmp_path):
    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "pickled"
    folder.mkdir()
    for path in tiny_models("llama").iterdir():
        if path.suffix == ".safetensors":
            torch.save(load_file(path), folder / "pytorch_model.bin")
        else:
            (folder / path.name).write_bytes(path.read_bytes())

    def change(content):
        content["model"]["backbone"]["path"] = str(folder)

    assert "allow_pickle: true" in refused("run", make(change=change))


def test_full_finetuning_in_half_precision(make):
    def change(content):
        content["model"]["backbone"]["dtype"] = "bfloat16"
        content["model"]["adapter"] = None
        content["stages"][0]["losses"] = ["infonce"]

    assert "small updates are lost" in refused("run", make(change=change))


def test_adapter_targets_that_match_nothing(make):
    def change(content):
        content["model"]["adapter"]["targets"] = ["no_such_layer"]

    assert "no_such_layer" in refused("run", make(change=change))


def test_a_batch_larger_than_the_data(make):
    assert "has only 40 rows" in refused("run", make(batch_size=50))


def test_a_loss_that_becomes_nan(make, tmp_path):
    (tmp_path / "rotten.py").write_text(
        "from ullme import Loss, Vector\n\n\n"
        "class Rotten(Loss):\n    '''Finite for three steps.'''\n\n"
        "    needs = (Vector('query'),)\n    calls = 0\n\n"
        "    def __call__(self, batch):\n        Rotten.calls += 1\n"
        "        return batch.vector('query').sum(1) * (float('nan') if Rotten.calls > 3 else 1.0)\n"
    )

    def change(content):
        content["stages"][0]["losses"] = ["infonce", "rotten"]

    plugin = ("--plugin", "loss:rotten=rotten:Rotten")
    file = make(change=change, checkpoint_every=1)
    message = refused(*plugin, "run", file, "--no-progress", PYTHONPATH=str(tmp_path))
    assert "step 3: loss 'rotten' is nan" in message
    checkpoints = tmp_path / "run" / "stages" / "1-grl" / "checkpoints"
    assert {p.name for p in checkpoints.iterdir()} == {"step-00000002.ckpt", "step-00000003.ckpt"}
    assert "is nan" in refused(*plugin, "run", file, "--no-progress", PYTHONPATH=str(tmp_path))


def test_an_output_that_cannot_be_made(make):
    message = refused("run", make(), "--set", "output=/dev/null/runs")
    assert "/dev/null/runs" in message


def test_evaluating_before_training(make):
    def change(content):
        content["evaluate"] = ["probe"]

    assert "stage 'grl' is not trained yet" in refused("evaluate", make(change=change))


def test_other_rows_than_the_stage_was_begun_on(make, tmp_path):
    file = make()
    assert ullme("run", file, "--no-progress").returncode == 0
    (tmp_path / "run" / "stages" / "1-grl" / "done.json").unlink()
    with (tmp_path / "rows.jsonl").open("a") as rows:
        rows.write('{"query": "one more", "positives": ["row"], "negatives": ["here"]}\n')
    assert "begun on other rows" in refused("run", file)


def test_two_processes_in_one_folder(make, tmp_path):
    import fcntl

    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process is at work there" in refused("run", make())


def test_a_damaged_run_folder(make, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ullme.yaml").write_text("{")
    assert "damaged" in refused("run", make())


def test_weights_that_are_cut_short(make, tiny_models, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(tiny_models("llama"), folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])

    def change(content):
        content["model"]["backbone"]["path"] = str(folder)

    assert "cut short" in refused("run", make(change=change))


def test_trainer_values_that_nothing_can_use(make):
    assert "trainer.accelerator 'cppu'" in refused("run", make("a", accelerator="cppu"))
    assert "betas" in refused("run", make("b", betas=[2.0, 0.9]))


def test_two_exports_into_one_folder(make):
    def change(content):
        content["export"] = ["ullme", {"use": "ullme", "folder": "stages"}]

    assert "'stages' below the output is taken" in refused("run", make(change=change))


def test_a_loss_that_raises_is_named_with_its_distribution(make, tmp_path):
    (tmp_path / "sour.py").write_text(
        'from ullme import Loss, Vector\n\n\nclass Sour(Loss):\n    """Fails."""\n\n'
        '    needs = (Vector("query"),)\n\n    def __call__(self, batch):\n        raise KeyError("x")\n'
    )

    def change(content):
        content["stages"][0]["losses"] = ["sour"]

    file = make(change=change)
    message = refused("--plugin", "loss:sour=sour:Sour", "run", file, PYTHONPATH=str(tmp_path))
    assert "loss 'sour' (local" in message
    assert "failed: KeyError: 'x'" in message


def test_an_evaluator_that_could_not_work_after_training(make, tmp_path):
    def change(content):
        content["model"]["adapter"] = None
        content["stages"][0]["losses"] = ["infonce"]
        source = {"use": "jsonl", "path": str(tmp_path / "rows.jsonl")}
        content["evaluate"] = [{"use": "losses", "source": source, "losses": ["dpo"]}]

    assert "there is no reference model left" in refused("run", make(change=change))
