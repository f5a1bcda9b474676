"""`ullme show-plugin preset NAME`: a preset explained. Imports no plugin."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from ullme.cli.show_plugin import facts, print_facts, relative

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ullme.config.presets import Preset
    from ullme.config.template import Span, TemplateConfig
    from ullme.plugins.discovery import PluginRecord
    from ullme.plugins.registry import Registry

QUERY, DOCUMENT = "why is the sky blue", "Rayleigh scattering."
INSTRUCTION = "Given a question, retrieve passages that answer it"

_OWN = "in the tokenizer's own format (its special tokens around the text)"


def show(registry: Registry, record: PluginRecord) -> int:
    """Print what the preset is, where it comes from, what its texts look like, and the sections that it gives."""
    from ullme.config.load import dump_yaml
    from ullme.config.presets import load_preset

    preset = load_preset(record.qualified, registry)
    print(f"{record.kind} {record.name}\n\n  {preset.about.summary}\n")
    about = preset.about
    weights = preset.model.get("backbone", {})
    where = " @ ".join(str(weights[key]) for key in ("path", "revision") if weights.get(key))
    extra = {"weights": where, "licence": about.licence, "see": "\n".join(about.sources)}
    print_facts(
        facts(registry, record, str(relative(preset.path))) | {key: text for key, text in extra.items() if text}
    )
    _paragraphs("notes", about.notes)
    if preset.published is not None:
        _paragraphs("as published (setting: as-published)", [preset.published.note])
        print(textwrap.indent(dump_yaml(preset.published.model), "    ").rstrip())
    if lines := list(_texts(preset)):
        print("\n  texts, what is pooled between « and »")
        for line in lines:
            print(f"    {line}")
    print("\n  gives")
    given = dump_yaml({"model": preset.model, **preset.recipe}).replace("$${", "${")  # as it is written in the file
    print(textwrap.indent(given, "    ").rstrip())
    return 0


def _paragraphs(title: str, texts: list[str]) -> None:
    if texts:
        print(f"\n  {title}")
    for text in texts:
        print(textwrap.fill(text, 110, initial_indent="    - ", subsequent_indent="      "))


def _texts(preset: Preset) -> Iterator[str]:
    """One line per role, with the words of an example in the place of the data."""
    from ullme.config.template import TemplateConfig

    section = preset.model.get("template")
    if section is None:
        yield _OWN
        return
    template = TemplateConfig.model_validate(section)
    prompts: dict[str, str] = preset.model.get("prompts") or {}
    roles = template.roles()
    if template.embed:  # a role without spans of its own may have a prompt of its own
        own = [role for role in ("query", "document") if role in prompts and role not in template.embed]
        roles = [*((("embed", role), template.embed["default"]) for role in own), *roles]
    else:
        yield _OWN
    width = max((len(loc[-1]) for loc, _ in roles), default=0)
    for loc, spans in roles:
        role = loc[-1]
        used = any("instruction" in span.names for span in spans)
        instruction = (prompts.get(role, "" if prompts else INSTRUCTION)) if used else ""
        text = DOCUMENT if role == "document" else QUERY
        row = {"text": text, "prefix": QUERY, "target": DOCUMENT, "instruction": instruction}
        mark = "target" if loc[0] == "likelihood" else "pool"
        yield f"{role:{width}}  {_marked(spans, row, template, mark)}"


def _marked(spans: list[Span], row: dict[str, str], template: TemplateConfig, mark: str) -> str:
    from ullme.config.template import PLACEHOLDER

    parts: list[tuple[bool, str]] = []
    for span in spans:
        text = PLACEHOLDER.sub(lambda match: template.words.get(match[1], match[0]), span.text)
        needs = [name for name in PLACEHOLDER.findall(text) if name in row]
        if needs and not any(row[name] for name in needs):
            continue
        filled = PLACEHOLDER.sub(lambda match: row.get(match[1], match[0]), text)
        marked: Any = getattr(span, mark)
        if parts and parts[-1][0] == marked:
            filled = parts.pop()[1] + filled
        parts.append((marked, filled))
    line = "".join(f"«{text}»" if marked else text for marked, text in parts)
    return line.replace("\\", "\\\\").replace("\n", "\\n")
