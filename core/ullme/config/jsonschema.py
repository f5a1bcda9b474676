"""One JSON Schema (draft 2020-12) for pipelines with the plugins installed here, for editors.

A slot says `if use is NAME, then the fields of NAME`, and does not offer a choice among all plugins: so a wrong key is
reported as a wrong key, not as "valid under none of 20 schemas".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ullme.config.rewrite import rewritten
from ullme.config.schema import ModelConfig, Pipeline
from ullme.config.slots import Slot
from ullme.errors import UllmeError
from ullme.kinds import KINDS

if TYPE_CHECKING:
    from ullme.plugins.discovery import PluginRecord
    from ullme.plugins.registry import Registry

_FILES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def build(registry: Registry) -> tuple[dict[str, Any], list[str]]:
    """The schema, and why each plugin that is left out of it cannot be loaded."""
    schema = Pipeline.model_json_schema()
    broken: list[str] = []
    for kind in KINDS:
        schema["$defs"] |= _slot(kind, registry, broken)
    schema = rewritten(schema)
    schema["properties"] |= {
        "extends": {"description": "files that this one is laid over; relative to it", **_FILES},
        "vars": {"description": "values to refer to as ${vars.NAME}", "type": "object"},
    }
    del schema["properties"]["output"]["default"]  # it depends on the name of the file
    required = {"required": schema.pop("required"), "properties": {"model": _whole_model(schema)}}
    schema |= {"if": {"required": ["extends"]}, "else": required}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ullme pipeline", **schema}, broken


def _whole_model(schema: dict[str, Any]) -> dict[str, Any]:
    """What a file that extends no other must say of its model. One that does may leave to the other what it likes."""
    slots = [
        name for name, field in ModelConfig.model_fields.items() if any(isinstance(m, Slot) for m in field.metadata)
    ]
    named = {name: {"required": ["use"]} for name in slots}
    return {"required": schema["$defs"]["ModelConfig"].pop("required"), "properties": named}


def _slot(kind: str, registry: Registry, broken: list[str]) -> dict[str, Any]:
    """Definitions of a slot of `kind` and of the mapping of each plugin that may fill it."""
    definitions: dict[str, Any] = {}
    names: list[str] = []
    branches = []
    for record in registry.records:
        if record.kind != kind:
            continue
        try:
            fields = _fields(record, registry)
        except UllmeError as error:
            broken.append(str(error))
            continue
        key = f"{kind}.{record.qualified}"
        definitions[key] = fields
        spelled = _spellings(record, registry)
        names += spelled
        chosen = {"required": ["use"], "properties": {"use": {"enum": spelled}}}
        branches.append({"if": chosen, "then": {"$ref": f"#/$defs/{key}"}})
    named = {"type": "string", "enum": names}
    mapping = {"type": "object", "properties": {"use": named}, **({"allOf": branches} if branches else {})}
    return {**definitions, f"slot.{kind}": {"if": {"type": "object"}, "then": mapping, "else": named}}


def _fields(record: PluginRecord, registry: Registry) -> dict[str, Any]:
    cls = registry.load(record.kind, record.qualified)
    own = f"#/$defs/{record.kind}.{record.qualified}/$defs/{{model}}"
    schema: dict[str, Any] = cls.Config.model_json_schema(ref_template=own)
    summary = (cls.__doc__ or "").strip().partition("\n")[0]
    schema["properties"] = {"use": {"type": "string", "description": summary}, **schema.get("properties", {})}
    return schema


def _spellings(record: PluginRecord, registry: Registry) -> list[str]:
    """Every `use` that chooses this plugin."""
    try:
        plain = registry.resolve(record.kind, record.name) == record
    except UllmeError:
        plain = False  # provided more than once: only the qualified name tells
    entry = registry.index.find(record.kind, record.name, record.dist)
    aliases = entry.aliases if entry else ()
    return [record.name, *aliases, record.qualified] if plain else [record.qualified]
