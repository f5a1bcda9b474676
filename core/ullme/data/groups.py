"""Which rows belong together: those that share a positive passage, or were given the same group."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from ullme.errors import DataError
from ullme.types import Example


def same_text(text: str) -> str:
    """The form in which two passages are compared: runs of white space count as one blank."""
    return " ".join(text.split())


def stable_hash(*parts: str) -> int:
    """64 bits that depend on `parts` alone: not on the process, the machine or the order of rows."""
    digest = blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data) + data)
    return int.from_bytes(digest.digest(), "big")


def identified(examples: Sequence[Example]) -> list[Example]:
    """The examples, each with an id, by default a hash of its texts. Raises DataError if a given id repeats."""
    out: list[Example] = []
    given: set[str] = set()
    hashed: dict[str, int] = {}
    for example in examples:
        name = example.id
        if name in given:
            raise DataError(f"two rows have the id {name!r}; give each row its own id, or none")
        if name:
            given.add(name)
        else:
            text = stable_hash("row", example.instruction, example.query, *example.positives, "", *example.negatives)
            name = f"{text:016x}"
            hashed[name] = hashed.get(name, 0) + 1
            if hashed[name] > 1:  # the same row again
                name += f"-{hashed[name]}"
        out.append(replace(example, id=name))
    return out


def grouped(examples: Sequence[Example]) -> list[Example]:
    """The examples with `group` set: equal for rows linked, directly or through others, by a passage or a given group.

    The name of a group depends only on its own rows: the first of the given names, else a hash of its first passage.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    # One letter tells a given name from a passage hash, and makes given names sort first.
    keys = [
        [f"a{example.group}"] * bool(example.group)
        + [f"b{stable_hash(same_text(text)):016x}" for text in example.positives]
        for example in examples
    ]
    for first, *others in keys:
        for other in others:
            low, high = sorted((root(first), root(other)))
            parent[high] = low  # the smallest key of a group is its root, in whatever order rows come
    return [replace(example, group=root(first)[1:]) for example, (first, *_) in zip(examples, keys, strict=True)]
