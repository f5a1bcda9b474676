"""One JSON Schema (draft 2020-12) for pipelines with the plugins installed here, for editors.

A slot says `if use is NAME, then the fields of NAME`, and does not offer a choice among all plugins: so a wrong key is
reported as a wrong key, not as "valid under none of 20 schemas".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ullme.config.layers import PRESET
from ullme.config.presets import SETTING, SETTINGS
from ullme.config.rewrite import rewritten
from ullme.config.schema import ModelConfig, Pipeline
from ullme.config.slots import Slot
from ullme.errors import UllmeError
from ullme.kinds import KINDS

if TYPE_CHECKING:
    from ullme.plugins.discovery import PluginRecord
    from ullme.plugins.registry import Registry

_FILES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}

_ONE = {"$ref": f"#/$defs/name.{PRESET}"}
_PRESETS = {
    PRESET: {
        "description": "model sections by name, laid over each other in order; what else is said here comes last",
        "if": {"type": "array"},
        "then": {"type": "array", "items": _ONE, "minItems": 1},
        "else": _ONE,
    },
    SETTING: {"description": "as its authors use the model, or as a paper ran it", "enum": list(SETTINGS)},
}


def build(registry: Registry) -> tuple[dict[str, Any], list[str]]:
    """The schema, and why each plugin that is left out of it cannot be loaded."""
    schema = Pipeline.model_json_schema()
    broken: list[str] = []
    for kind in KINDS.values():
        schema["$defs"] |= _slot(kind.name, registry, broken) if kind.interface else _names(kind.name, registry)
    schema = rewritten(schema)
    schema["properties"] |= {
        "extends": {"description": "files (relative to this one) and preset:NAME that it is laid over", **_FILES},
        "vars": {"description": "values to refer to as ${vars.NAME}", "type": "object"},
    }
    del schema["properties"]["output"]["default"]  # it depends on the name of the file
    required = {"required": schema.pop("required"), "properties": {"model": _whole_model(schema)}}
    schema["$defs"]["ModelConfig"]["properties"] |= _PRESETS
    schema |= {"if": {"required": ["extends"]}, "else": required}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ullme pipeline", **schema}, broken


def _whole_model(schema: dict[str, Any]) -> dict[str, Any]:
    """What a file must say of its model that names no preset and extends no other. Else it may leave what it likes."""
    slots = [
        name for name, field in ModelConfig.model_fields.items() if any(isinstance(m, Slot) for m in field.metadata)
    ]
    named = {name: {"required": ["use"]} for name in slots}
    whole = {"required": schema["$defs"]["ModelConfig"].pop("required"), "properties": named}
    return {"if": {"required": [PRESET]}, "else": whole}


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


def _names(kind: str, registry: Registry) -> dict[str, Any]:
    """The definition of a name of a kind that is data."""
    found = [name for record in registry.records if record.kind == kind for name in _spellings(record, registry)]
    return {f"name.{kind}": {"type": "string", "if": {"pattern": r"\$\{"}, "else": {"enum": found}}}


def _spellings(record: PluginRecord, registry: Registry) -> list[str]:
    """Every `use` that chooses this plugin."""
    try:
        plain = registry.resolve(record.kind, record.name) == record
    except UllmeError:
        plain = False  # provided more than once: only the qualified name tells
    entry = registry.index.find(record.kind, record.name, record.dist)
    aliases = entry.aliases if entry else ()
    return [record.name, *aliases, record.qualified] if plain else [record.qualified]
