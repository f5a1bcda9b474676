"""The YAML that pipelines are written in: version 1.2's scalars, and a writer whose output reads back unchanged."""

import re
from typing import Any

import yaml

TAG = "tag:yaml.org,2002:"
PLAIN_TAGS = {TAG + name for name in ("map", "seq", "str", "int", "float", "bool", "null")}
_EXPONENT = "[eE][-+]?[0-9]+"
_FLOAT = (
    rf"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:{_EXPONENT})?|[-+]?[0-9]+{_EXPONENT}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class PlainLoader(yaml.SafeLoader):
    """Reads scalars as YAML 1.2 does: `no`, `12:30` and `2024-01-01` are text, and `1e-4` is a number."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's own protocol; none of YAML 1.1's are inherited)


class PlainDumper(yaml.SafeDumper):
    """Writes what `PlainLoader` reads back unchanged, without aliases, quoted so that YAML 1.1 readers agree."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat a value instead of pointing at it."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Quote text with line breaks so that they are escaped: PyYAML would fold some of them into spaces."""
        style = '"' if re.search("[\n\x85\u2028\u2029]", data) else None
        return self.represent_scalar(TAG + "str", data, style=style)


PlainDumper.add_representer(str, PlainDumper.represent_str)


_RESOLVERS = (
    ("null", "~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", "true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    ("float", _FLOAT, [*"-+.0123456789"]),
    ("merge", "<<", ["<"]),
)
for _tag, _pattern, _first in _RESOLVERS:
    PlainLoader.add_implicit_resolver(TAG + _tag, re.compile(rf"(?:{_pattern})\Z"), _first)
# YAML 1.1 knows fewer floats: without this, text such as 1e-4 would be written unquoted.
PlainDumper.add_implicit_resolver(f"{TAG}float", re.compile(rf"(?:{_FLOAT})\Z"), [*"-+.0123456789"])
