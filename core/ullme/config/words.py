"""Plain words for values and for what pydantic expected of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "date_from_datetime_parsing": "a date",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "frozen_set_type": "a list",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_type": "a whole number",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "mapping_type": "a mapping",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "multiple_of": "a multiple of {multiple_of}",
    "none_required": "null",
    "path_type": "a path",
    "set_type": "a list",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "text of at most {max_length} characters",
    "string_too_short": "text of at least {min_length} characters",
    "string_type": "text",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
    "tuple_type": "a list",
}


def expected(error: Mapping[str, Any]) -> str | None:
    """What pydantic wanted, as a noun phrase, or None where its error is of another sort."""
    phrase = _EXPECTED.get(error["type"])
    context = {key: f"{value:g}" if isinstance(value, float) else value for key, value in error.get("ctx", {}).items()}
    return phrase and phrase.format(**context).replace("at least 1 items", "at least one item")


def mismatch(errors: list[Mapping[str, Any]]) -> str:
    """`expected ..., found ...` for errors that all refuse the same value."""
    phrases = list(dict.fromkeys(phrase for error in errors if (phrase := expected(error))))
    value = errors[0]["input"]
    text = f"expected {' or '.join(phrases)}, found {described(value)}"
    literals = "".join(error.get("ctx", {}).get("expected", "") for error in errors)
    options = re.findall(r"'([^']*)'", literals)
    if isinstance(value, str) and (close := get_close_matches(value, options, n=1)):
        return f"{text}. Did you mean {close[0]!r}?"
    if "text" in phrases and isinstance(value, (bool, int, float)):
        return f"{text}; put it in quotes if it is meant as text"
    return text


def a(noun: str) -> str:
    """`noun` with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def described(value: Any) -> str:
    """A value in a few words: 'ten', 3, true, null, a list of 2, a mapping of a and b."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, list(value)[:3])) + (", ..." if len(value) > 3 else "")
        return f"a mapping of {keys}" if value else "an empty mapping"
    text = repr(str(value))
    return text if len(text) <= 60 else f"{text[:56]}...'"
