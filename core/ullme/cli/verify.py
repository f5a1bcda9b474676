"""`ullme verify DIR|URL`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ullme.model.reference import Encode, Reference

SUMMARY = "Does a copy of a model, loaded or served, give the vectors that the model gave? Exit 1 if not."
EXAMPLE = (
    "ullme verify runs/quickstart/sentence-transformers\n"
    "ullme verify http://127.0.0.1:8000 --against runs/quickstart/sentence-transformers"
)
PROTOCOLS = ("openai", "tei")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Copy, reference, reader."""
    parser.add_argument("copy", metavar="DIR|URL", help="a folder that ullme has written, or a server's address")
    parser.add_argument("--against", metavar="DIR", help="the folder with the reference (default: DIR itself)")
    parser.add_argument(
        "--backend", metavar="NAME", help="what reads it: an exporter's name for DIR, openai or tei for URL"
    )
    parser.add_argument("--min-cosine", type=float, metavar="X", help="accept vectors whose direction is this close")
    parser.add_argument("--model", metavar="NAME", help="what the server calls the model (default: its first)")
    parser.add_argument("--key-from", metavar="VARIABLE", help="environment variable that holds the server's API key")
    parser.add_argument("--device", help="for DIR: cpu, cuda ... (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """A line a role."""
    from ullme.errors import ConfigError
    from ullme.model.reference import Tolerance, compare, read_reference

    served = args.copy.startswith(("http://", "https://"))
    if served and args.against is None:
        raise ConfigError("a server says nothing of what its vectors should be: give the folder with --against DIR")
    reference = read_reference(Path(args.against or args.copy))
    if served:
        reference, encode, reader = _served(args, reference)
        tolerance = Tolerance.of("bfloat16")  # nobody knows in what precision a server computes
    else:
        encode, reader = _local(args.copy, args.backend, args.device)
        tolerance = reference.tolerance
    if args.min_cosine is not None:
        tolerance = Tolerance(args.min_cosine, args.min_cosine, float("inf"))
    found = compare(reference, encode, tolerance)
    print(f"{args.copy}, read by {reader}; expected {tolerance}")
    for one in found:
        count = len(reference.roles[one.role].texts)
        print(f"  {'ok ' if one.within else 'OFF'}  {one}  ({count} texts)")
    off = [one.role for one in found if not one.within]
    if off:
        print(f"not the same model: {', '.join(off)}")
    return 1 if off else 0


def _local(place: str, backend: str | None, device: str | None) -> tuple[Encode, str]:
    from ullme.errors import AssetError, ConfigError
    from ullme.plugins.registry import Registry

    folder, registry = Path(place), Registry()
    if backend in PROTOCOLS:
        raise ConfigError(f"--backend {backend} asks a server: give its URL")
    for name in [backend] if backend else registry.names("exporter"):
        cls = registry.load("exporter", name)
        exporter = cls(cls.Config())
        if exporter.reads(folder):
            return exporter.read(folder, device or "cpu"), name
    who = f"exporter {backend!r} does not read this format" if backend else "no exporter here reads this format"
    raise AssetError(f"{folder}: {who}; there are {', '.join(registry.names('exporter'))}")


def _served(args: argparse.Namespace, reference: Reference) -> tuple[Reference, Encode, str]:
    """Only roles whose texts a server can be given as plain strings."""
    import dataclasses

    import numpy as np

    from ullme.errors import ConfigError
    from ullme.served import Served

    if args.backend not in (None, *PROTOCOLS):
        raise ConfigError(f"--backend {args.backend}: expected {' or '.join(PROTOCOLS)} for a server")
    if args.key_from and args.key_from not in os.environ:
        raise ConfigError(f"--key-from {args.key_from}: no such environment variable")
    roles = {name: role.without_cut() for name, role in reference.roles.items() if role.prompt is not None}
    if not roles:
        raise ConfigError("this reference does not say how its texts are sent: use the one of an export")
    key = os.environ[args.key_from] if args.key_from else None
    server = Served(args.copy, protocol=args.backend, model=args.model, key=key)
    unit = all(np.allclose(np.linalg.norm(role.vectors, axis=1), 1, atol=1e-3) for role in roles.values())

    def encode(texts: Sequence[str], role: str) -> np.ndarray:
        prompt = roles[role].prompt or ""
        return server.vectors([prompt + text for text in texts], normalize=unit)

    return dataclasses.replace(reference, roles=roles), encode, "a server"
