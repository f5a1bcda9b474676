"""A docstring as a pair of texts: its summary sentence and the rest."""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence

_SENTENCE_END = re.compile(r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)(?<!\betc\.)(?<=[.!?])\s+(?=[A-Z`*:\"'(])")
_SIGNATURE = re.compile(r"[\w.]+\(.*\)(\s*->.*)?", re.DOTALL)
_UNDERLINED = re.compile(r"^(\w[\w ]*)\n[-=~]{3,}$", re.MULTILINE)
_HEADED = re.compile(r"^(Examples?|References?|See Also|Notes?|Usage)::?$", re.MULTILINE)
_LEFT_OUT = {"example", "examples", "references", "reference", "see also", "usage"}
_ROLE = re.compile(r":[\w:]+:`~?([^`<]+)(?:<[^`]*>)?`")


def docstrings(source: bytes) -> Iterator[tuple[str, str]]:
    """(qualified name, cleaned docstring) of classes, functions and methods, in order.

    Raises SyntaxError, ValueError or RecursionError for what is not Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's code
        tree = ast.parse(source)
    yield from _walk(tree.body, "")


def _walk(body: Sequence[ast.AST], prefix: str) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = prefix + node.name
            if text := ast.get_docstring(node):
                yield name, text
            if isinstance(node, ast.ClassDef):
                yield from _walk(node.body, f"{name}.")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for part in ("body", "handlers", "orelse", "finalbody"):
                yield from _walk(getattr(node, part, []), prefix)
        elif isinstance(node, ast.ExceptHandler):
            yield from _walk(node.body, prefix)


def pair(docstring: str) -> tuple[str, str] | None:
    """(summary sentence, the rest without examples and references), or None if one is missing or repeats the other."""
    paragraphs = [part.strip("\n") for part in re.split(r"\n\s*\n", _plain(docstring)) if part.strip()]
    if paragraphs and _SIGNATURE.fullmatch(paragraphs[0].strip()):
        del paragraphs[0]
    if not paragraphs or _section(paragraphs[0]):
        return None
    summary, *more = _SENTENCE_END.split(" ".join(paragraphs[0].split()), maxsplit=1)
    rest = "\n\n".join([*more, *_kept(paragraphs[1:])]).strip()
    if not rest or summary.rstrip(".!?: ").casefold() in " ".join(rest.split()).casefold():
        return None
    return summary, rest


def _plain(text: str) -> str:
    """Without the marks that reStructuredText puts around names."""
    return _ROLE.sub(r"\1", text).replace("``", "`")


def _kept(paragraphs: Sequence[str]) -> Iterator[str]:
    """Paragraphs that are neither code examples nor directives nor part of a section that is left out."""
    left_out = False
    for paragraph in paragraphs:
        if section := _section(paragraph):
            left_out = section.lower() in _LEFT_OUT
        if not left_out and not paragraph.lstrip().startswith((">>>", ".. ")):
            yield paragraph


def _section(paragraph: str) -> str:
    """The section that the paragraph opens, underlined (numpydoc) or followed by a colon (Google); or ''."""
    first = "\n".join(paragraph.split("\n")[:2])
    if match := _UNDERLINED.match(first):
        return match[1].strip()
    match = _HEADED.match(first.split("\n")[0])
    return match[1] if match else ""
