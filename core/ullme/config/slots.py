"""Slots: the places in a config where a plugin is chosen by name.

`use: NAME` and the fields of that plugin's own `Config`, or the bare name for one without fields. A plugin's `Config`
may hold slots itself: `source: Annotated[Choice, Slot("source")]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from ullme.config.words import a, described
from ullme.errors import UllmeError
from ullme.kinds import KINDS

if TYPE_CHECKING:
    from ullme.plugins.discovery import PluginRecord
    from ullme.plugins.registry import Registry


@dataclass(frozen=True)
class Choice:
    """A plugin that was chosen and configured, not built yet. `record` says which distribution it comes from."""

    kind: str
    name: str
    config: Any
    cls: type[Any]
    record: PluginRecord

    def build(self) -> Any:
        """The component: an instance of the plugin's class."""
        return self.cls(self.config)

    @property
    def who(self) -> str:
        """Kind, name and distribution, for messages."""
        return f"{self.kind} {self.name!r} ({self.record.dist} {self.record.version})"


OnBuilt = Callable[[str, str, Any], None]
"""Told kind, name and component of everything that is built from a choice."""


@dataclass(frozen=True)
class Slot:
    """Marks a field that holds a `Choice` of a kind. `default` names the key of the index's `[defaults]` to use."""

    kind: str
    default: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise TypeError(f"Slot({self.kind!r}): no such kind; there are {', '.join(KINDS)}")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(_dumped, info_arg=True),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"x-ullme-kind": self.kind}

    def _validate(self, value: Any, info: core_schema.ValidationInfo) -> Choice:
        if isinstance(value, Choice) and value.kind == self.kind:
            return value
        registry: Registry | None = info.context
        if registry is None:
            raise TypeError("slots look plugins up in a registry: model_validate(..., context=registry)")
        if value is None and self.default:
            value = registry.index.defaults.get(self.default)
        fields = {"use": value} if isinstance(value, str) else value
        if not isinstance(fields, Mapping) or not isinstance(fields.get("use"), str):
            found = described(value.get("use", value) if isinstance(value, Mapping) else value)
            names = ", ".join(registry.names(self.kind)) or "none"
            wanted = f"expected {a(self.kind)} as NAME or {{use: NAME, ...}}, found {found}"
            raise refused((), f"{wanted}.\n  Installed: {names}", value)
        try:
            record = registry.resolve(self.kind, fields["use"])
            cls = registry.load(self.kind, fields["use"])
        except UllmeError as error:
            raise refused(("use",), str(error), fields["use"]) from None
        own = {key: field for key, field in fields.items() if key != "use"}
        config = cls.Config.model_validate(own, context=registry)
        name = record.qualified if ":" in fields["use"] else record.name
        return Choice(self.kind, name, config, cls, record)


def refused(loc: tuple[str | int, ...], message: str, value: Any) -> ValidationError:
    """A validation error at `loc` below the field whose validator raises it, with a message of our own."""
    # The message travels as context because pydantic would take braces in a template for fields.
    custom = PydanticCustomError("refused", "{message}", {"message": message})
    return ValidationError.from_exception_data("refused", [InitErrorDetails(type=custom, loc=loc, input=value)])


def _dumped(choice: Choice, info: core_schema.SerializationInfo) -> dict[str, Any]:
    return {"use": choice.name, **choice.config.model_dump(mode=info.mode)}


def choices(config: Any) -> list[Choice]:
    """Every choice in a config, in the order of its fields, each followed by those in its own config."""
    return list(_walk(config))


def _walk(value: Any) -> Iterator[Choice]:
    if isinstance(value, Choice):
        yield value
        yield from _walk(value.config)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _walk(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _walk(item)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for item in value:
            yield from _walk(item)
