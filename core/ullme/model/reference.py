"""Fixed texts with the vectors that a model gives them: what every copy of it, saved or served, is held to.

reference_embeddings.json, in every directory that ullme writes:

    {"format": 1, "dtype": "float32", "similarity": "cosine",
     "tolerance": {"typical": 0.99999, "worst": 0.99999, "absolute": 1e-05},
     "roles": {"query": {"prompt": "query: ", "texts": [...], "cut": [7], "vectors": [[...], ...]}, ...}}

`cut` numbers the texts that are too long for the model: where a server cuts them is its own affair. `prompt` is the
plain text that stands before a text of that role, where nothing else is needed to tell a server what the model reads;
null where a template says more than that.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullme.errors import AssetError, DataError

if TYPE_CHECKING:
    import numpy as np

    from ullme.model.embedder import Embedder

FILE = "reference_embeddings.json"
FORMAT = 1

TEXTS = (
    "Hello",
    "What is the capital of Kenya?",
    "Der schnelle braune Fuchs springt über den faulen Hund; Füchse sind überhaupt ziemlich flink.",
    "东京是日本的首都，也是世界上人口最多的城市之一。",  # noqa: RUF001
    "تُستخدم المتجهات لقياس التشابه بين النصوص.",
    "def add(a: int, b: int) -> int:\n    return a + b  # 3 + 4 == 7",
    "नदी के किनारे एक पुराना बरगद का पेड़ है, जिसकी छाया में गाँव के लोग हर शाम मिलते हैं।",
    "The tide tables for the harbour were first printed in 1833. They listed, for every day of the year, the hour of"
    " high water and its height in feet above the sill of the old lock. Pilots learnt them by heart; so did the"
    " fishermen's children, who were asked for them at supper. When the lock was replaced in 1911 the datum moved by"
    " 4.2 inches, and for a whole season the printed heights and the painted gauge on the quay disagreed. Nobody ran"
    " aground. The pilots, it turned out, had been reading the colour of the water all along.",
)
"""Short and long, several scripts, code and digits; the last is some 140 tokens."""

Encode = Callable[[Sequence[str], str], "np.ndarray"]
"""Vectors [n, d] of texts in a role."""


@dataclass(frozen=True)
class Tolerance:
    """How far two copies may differ: cosine of the middle text of a role at least, of its worst text at least, and the
    largest difference of a number, relative to the largest number in the reference but at least to 1.

    fp32 agrees to 1e-5 in every text. Half precision keeps the direction of almost all: rounding each state to 8 or 11
    bits moves the middle text by 1e-4, and can throw single short texts far off, in any two programs (docs/export.md).
    """

    typical: float
    worst: float
    absolute: float

    @classmethod
    def of(cls, dtype: str) -> Tolerance:
        """What a dtype allows."""
        return cls(0.99999, 0.99999, 1e-5) if dtype == "float32" else cls(0.999, 0.5, 2.0)

    def __str__(self) -> str:
        return f"cosine >= {self.typical:g}, >= {self.worst:g} at worst, difference <= {self.absolute:g}"


@dataclass(frozen=True)
class Role:
    """The reference of one role."""

    texts: tuple[str, ...]
    vectors: np.ndarray
    prompt: str | None = None
    cut: tuple[int, ...] = ()

    def without_cut(self) -> Role:
        """Only the texts that the model takes whole."""
        kept = [index for index in range(len(self.texts)) if index not in self.cut]
        return Role(tuple(self.texts[index] for index in kept), self.vectors[kept], self.prompt)


@dataclass(frozen=True)
class Reference:
    """What a copy of a model is compared with."""

    roles: Mapping[str, Role]
    dtype: str
    similarity: str = "cosine"
    tolerance: Tolerance = field(default_factory=lambda: Tolerance.of("float32"))

    def write(self, folder: Path) -> None:
        """Into `folder`, as reference_embeddings.json."""
        roles = {
            name: {
                "prompt": role.prompt,
                "texts": role.texts,
                "cut": role.cut,
                "vectors": [[float(f"{value:.9g}") for value in vector] for vector in role.vectors.tolist()],
            }
            for name, role in self.roles.items()
        }
        tolerance = dataclasses.asdict(self.tolerance)
        about = {"format": FORMAT, "dtype": self.dtype, "similarity": self.similarity, "tolerance": tolerance}
        (folder / FILE).write_text(json.dumps({**about, "roles": roles}, ensure_ascii=False), "utf-8")


def read_reference(folder: Path) -> Reference:
    """The reference in `folder`. Raises AssetError if there is none, or none that this version understands."""
    import numpy as np

    path = folder / FILE
    if not path.is_file():
        raise AssetError(f"{folder}: no {FILE} there: expected a directory that ullme has written")
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if found["format"] != FORMAT:
            raise AssetError(f"{path}: format {found['format']!r}; this version reads {FORMAT}")
        roles = {
            name: Role(
                tuple(role["texts"]), np.array(role["vectors"], dtype=np.float32), role["prompt"], tuple(role["cut"])
            )
            for name, role in found["roles"].items()
        }
        return Reference(roles, found["dtype"], found["similarity"], Tolerance(**found["tolerance"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetError(f"{path}: damaged: {type(error).__name__}: {error}") from error


def reference(embedder: Embedder, prompts: Mapping[str, str] | None = None) -> Reference:
    """Vectors of the fixed texts in every role that `embedder` tells apart. `prompts`: plain text before each role's.

    Texts that are too long for a template that says `truncate: never` are left out.
    """
    from ullme.model.states import computes_in

    found = {}
    template = embedder.template
    counts = template.seen, template.truncated
    for role in roles(embedder):
        texts: list[str] = []
        cut: list[int] = []
        for text in TEXTS:
            before = template.truncated
            try:
                template.embed([text], role, embedder.prompt(role))
            except DataError:
                continue
            if template.truncated > before:
                cut.append(len(texts))
            texts.append(text)
        prompt = None if prompts is None else prompts[role]
        found[role] = Role(tuple(texts), embedder.encode(texts, role=role), prompt, tuple(cut))
    template.seen, template.truncated = counts  # these are nobody's texts
    dtype = str(computes_in(embedder.loaded)).removeprefix("torch.")
    return Reference(found, dtype, embedder.config.similarity, Tolerance.of(dtype))


def roles(embedder: Embedder) -> list[str]:
    """`default` serves texts of no particular role; the others are those that templates and searching distinguish."""
    return list(dict.fromkeys(["default", "query", "document", *embedder.template.config.embed]))


@dataclass(frozen=True)
class Difference:
    """One role of a copy against the reference: cosine of the middle and of the worst text, largest difference."""

    role: str
    typical: float
    worst: float
    absolute: float
    within: bool

    def __str__(self) -> str:
        return f"{self.role}: cosine {self.typical:.7f}, {self.worst:.7f} at worst, difference {self.absolute:.2g}"


def compare(reference: Reference, encode: Encode, tolerance: Tolerance | None = None) -> list[Difference]:
    """How far `encode` is from `reference`, role by role. Other lengths or numbers of vectors are no match at all."""
    import numpy as np

    limit = tolerance or reference.tolerance
    found = []
    for name, role in reference.roles.items():
        vectors = np.asarray(encode(role.texts, name), dtype=np.float64)
        wanted = role.vectors.astype(np.float64)
        if vectors.shape != wanted.shape or not np.isfinite(vectors).all():
            found.append(Difference(name, -1.0, -1.0, float("inf"), False))
            continue
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wanted, axis=1)
        cosines = (vectors * wanted).sum(1) / np.maximum(lengths, 1e-30)
        typical, worst = float(np.median(cosines)), float(cosines.min())
        absolute = float(np.abs(vectors - wanted).max() / max(1.0, np.abs(wanted).max()))
        within = typical >= limit.typical and worst >= limit.worst and absolute <= limit.absolute
        found.append(Difference(name, typical, worst, absolute, within))
    return found
