"""`ullme validate` and `ullme schema`, in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PLUGINS = {
    "backbone:family": "Family",
    "attention:both": "Both",
    "attention:past": "Past",
    "pooler:heads": "Heads",
    "loss:contrast": "Contrast",
    "source:rows": "Rows",
    "exporter:folder": "Folder",
}
PIPELINE = """\
model:
  backbone: {use: family, path: weights}
  attention: {embed: both, generate: past}
  pooler: {use: heads, heads: 2}
stages:
  - name: one
    data: {use: rows, path: a.jsonl}
    losses: [contrast]
    trainer: {max_steps: 30, batch_size: 4}
export: [folder]
"""
PLAIN = "import sys; from ullme.cli import main; sys.exit(main(sys.argv[1:]))"
LIGHT = """\
import sys
from ullme.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "transformers", "numpy", "lightning", "mteb", "datasets"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


def ullme(folder: Path, *arguments: str, program: str = PLAIN) -> subprocess.CompletedProcess[str]:
    """Run a command with the plugins of `config_parts`."""
    declared = [f"--plugin={name}=config_parts:{cls}" for name, cls in PLUGINS.items()]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    command = [sys.executable, "-c", program, *arguments, *declared]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=60)


def test_validate_says_what_would_run_and_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(PIPELINE)
    done = ullme(tmp_path, "validate", "a.yaml", "--set", "stages.0.trainer.max_steps=7", program=LIGHT)
    assert done.stderr == ""
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "a.yaml: ok"
    assert lines[1] == "  model     family, attention both (likelihoods: past), pooler heads, all weights"
    assert lines[2] == "  stage     one, 7 steps of 4 from rows: contrast"
    assert lines[3] == "  export    folder"
    assert lines[4] == "  output    runs/a"
    assert lines[5].startswith("  plugins   7 from ")


def test_validate_lists_every_mistake_and_exits_2(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(PIPELINE.replace("max_steps", "max_step").replace("heads: 2", "heads: two"))
    done = ullme(tmp_path, "validate", "a.yaml", "--set", "seed=x")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: a.yaml:4:31 model.pooler.heads: expected a whole number, found 'two'\n")
    assert "a.yaml:9:15 stages.0.trainer.max_step: unknown key. Did you mean 'max_steps'?" in done.stderr
    assert "--set seed=x: expected a whole number, found 'x'" in done.stderr


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = ullme(tmp_path, "validate", "a.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: a.yaml: no such file\n")


def test_schema_is_json_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    done = ullme(tmp_path, "schema", "--plugin=loss:gone=no_such_module:Loss")
    assert done.returncode == 0, done.stderr
    uses = json.loads(done.stdout)["$defs"]["slot.loss"]["else"]["enum"]
    assert "contrast" in uses
    assert "gone" not in uses
    assert "left out: loss 'gone'" in done.stderr
