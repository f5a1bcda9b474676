"""Rows of the conformance matrix as a table for the terminal, as JSON and as docs/families.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from ullme_plugins.commands._matrix import Row, Verdict

WORDS = {"accepted": "yes", "refused": "refused", "failed": "FAILS", "absent": "-"}

HEAD = """\
# Families

Written by `{command}`; never by hand. transformers {transformers}, torch {torch}, on a CPU.

Every family was built tiny with random weights, saved, loaded by its backbone and put through the self-test: what each
layer attends to in both modes, padding on either side, causal results bit-equal to stock transformers, head and body
giving the model's own logits, gradients to every token, gradient checkpointing, threads, generation unchanged by
embedding, LoRA. *yes* is all of it; *-* an implementation that transformers does not have for the family; *refused*
what ullme says no to when the model is loaded; *FAILS* what loads, and a check then found wanting. A family read by
`auto` has no backbone of its own. "LoRA not on every linear layer": not on those that choose experts or keys.
Flash kernels need a GPU and were not run here; flex_attention compiles for a minute a family (`--attn flex`).

**{accepted} of {decoders} families of language models are accepted**, and {encoders_accepted} of {encoders} encoders.
"""


def terminal(rows: Sequence[Row], implementations: Sequence[str]) -> Table:
    """A rich table, one row a family."""
    from rich.table import Table

    colours = {"accepted": "green", "refused": "yellow", "failed": "red", "absent": "dim"}
    table = Table(title_justify="left")
    for name in ("family", "backbone", *implementations, "why, and what to know"):
        table.add_column(name, overflow="fold")
    for row in rows:
        cells = [_cell(row.verdicts[name], f"[{colours[row.verdicts[name].status]}]") for name in implementations]
        table.add_row(row.family, row.plugin, *cells, _escaped("; ".join([*reasons(row), *row.notes])))
    return table


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as plain data."""
    from dataclasses import asdict

    return [asdict(row) | {"accepted": row.accepted} for row in rows]


def markdown(rows: Sequence[Row], implementations: Sequence[str], left_out: dict[str, str], command: str) -> str:
    """The page docs/families.md."""
    import torch
    import transformers

    decoders = [row for row in rows if row.kind == "decoder"]
    counted = {row.family.partition(",")[0]: False for row in decoders}
    for row in decoders:
        counted[row.family.partition(",")[0]] |= row.accepted
    encoders = [row for row in rows if row.kind == "encoder"]
    parts = [
        HEAD.format(
            command=command,
            transformers=transformers.__version__,
            torch=torch.__version__,
            accepted=sum(counted.values()),
            decoders=len(counted),
            encoders_accepted=sum(row.accepted for row in encoders),
            encoders=len(encoders),
        )
    ]
    for title, kind in (("Language models", decoders), ("Encoders", encoders)):
        parts.append(f"## {title}\n\n" + _grid([row for row in kind if row.accepted], implementations))
        refused = [row for row in kind if not row.accepted]
        if refused:
            parts.append(f"## {title}: refused\n\n" + _grid(refused, implementations))
    listed = "\n".join(f"| {name} | {reason} |" for name, reason in sorted(left_out.items()))
    parts.append(f"## Not looked at\n\n| model type | why |\n|---|---|\n{listed}\n")
    return "\n".join(parts)


def reasons(row: Row) -> Iterator[str]:
    """Why implementations were refused or failed; one reason once, named by implementation if it is not that of all."""
    said: dict[str, list[str]] = {}
    for name, verdict in row.verdicts.items():
        if verdict.status in ("refused", "failed") or (verdict.reason and not row.accepted):
            said.setdefault(verdict.reason, []).append(name)
    tried = [name for name, verdict in row.verdicts.items() if verdict.status != "absent"] or list(row.verdicts)
    if len(said) > 1:  # what transformers lacks explains nothing where something was refused
        said = {why: names for why, names in said.items() if set(names) & set(tried)} or said
    for why, names in said.items():
        yield why if set(names) >= set(tried) else f"{', '.join(names)}: {why}"


def _grid(rows: Sequence[Row], implementations: Sequence[str]) -> str:
    lines = [
        f"| family | backbone | {' | '.join(implementations)} | why, and what to know |",
        f"|---|---|{'---|' * (len(implementations) + 1)}",
    ]
    for row in rows:
        cells = " | ".join(_cell(row.verdicts[name]) for name in implementations)
        notes = "; ".join([*reasons(row), *row.notes]).replace("|", "\\|")
        lines.append(f"| {row.family} | {row.plugin} | {cells} | {notes} |")
    return "\n".join(lines) + "\n"


def _cell(verdict: Verdict, colour: str = "") -> str:
    return colour + WORDS[verdict.status]


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
