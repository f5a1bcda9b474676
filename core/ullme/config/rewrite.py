"""pydantic's JSON Schema made to describe the YAML a user writes: slots, short forms and references."""

from __future__ import annotations

from typing import Any

_REFERENCE = {"type": "string", "pattern": r"\$\{"}
_NULL = {"type": "null"}
_ABOUT = ("description", "default")
_MERGED = ("ModelConfig", "AttentionConfig")


def rewritten(schema: Any, *, partial: bool = False) -> Any:
    """`schema` with our marks (`x-ullme-...`) replaced and `${...}` allowed for any value.

    `partial`: slots may leave out `use`, as in a file that states only what differs from the one it extends.
    """
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, part in schema.items():
        match key:
            case "$defs":
                out[key] = {name: rewritten(entry, partial=name in _MERGED) for name, entry in part.items()}
            case "properties":
                out[key] = {name: _or_reference(rewritten(entry, partial=partial)) for name, entry in part.items()}
            case "items" | "additionalProperties":
                out[key] = _or_reference(rewritten(part, partial=partial))
            case "prefixItems":
                out[key] = [_or_reference(rewritten(entry, partial=partial)) for entry in part]
            case "anyOf" | "oneOf" | "allOf":
                out[key] = [rewritten(entry, partial=partial) for entry in part]
            case "then" | "else":
                out[key] = rewritten(part, partial=partial)
            case "title":
                pass  # pydantic repeats the key
            case _:
                out[key] = part
    return _nullable(_long_and_short(out, partial))


def _long_and_short(out: dict[str, Any], partial: bool) -> dict[str, Any]:
    if kind := out.pop("x-ullme-kind", None):
        out.pop("default", None)  # null here means that the index decides
        return {**out, "$ref": f"#/$defs/slot.{kind}", **({} if partial else {"required": ["use"]})}
    short = out.pop("x-ullme-short", None)
    if short == "text":
        return {"if": {"type": "string"}, "else": out}
    if short:
        # `{use: NAME, ..., generate: ...}` mixes both forms; its fields are left to `ullme validate`.
        mixed = {"type": "object", "required": ["generate"]}
        brief = {"if": mixed, "else": {"$ref": f"#/$defs/slot.{short}"}}
        return {"if": {"type": "object", "not": {"required": ["use"]}}, "then": out, "else": brief}
    return out


def _nullable(out: dict[str, Any]) -> dict[str, Any]:
    """`X or null` without anyOf, so that what is wrong inside X is named."""
    arms = out.get("anyOf", [])
    if len(arms) != 2 or _NULL not in arms:
        return out
    other = next(arm for arm in arms if arm != _NULL)
    rest = {key: part for key, part in out.items() if key != "anyOf"}
    return {**rest, "if": _NULL, "else": other}


def _or_reference(out: Any) -> Any:
    """A value, or text with `${` in it that stands for one."""
    if not isinstance(out, dict):
        return out
    about = {key: part for key, part in out.items() if key in _ABOUT}
    rest = {key: part for key, part in out.items() if key not in _ABOUT}
    return {**about, "if": _REFERENCE, "else": rest} if rest not in ({}, {"type": "string"}) else out
