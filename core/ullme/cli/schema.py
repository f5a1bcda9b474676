"""`ullme schema`: one JSON Schema of what is installed here."""

from __future__ import annotations

import argparse
import json
import sys

SUMMARY = "Print the JSON Schema of pipelines with the plugins installed here, for completion and checks in editors."
EXAMPLE = "ullme schema > ullme.schema.json   # then, in a YAML file: # yaml-language-server: $schema=ullme.schema.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the schema is that of this environment."""


def run(args: argparse.Namespace) -> int:
    """Print the schema. A plugin that cannot be loaded is left out and named on stderr."""
    from ullme.config.jsonschema import build
    from ullme.plugins.registry import Registry

    schema, broken = build(Registry())
    for reason in broken:
        print(f"left out: {reason}", file=sys.stderr)
    print(json.dumps(schema, indent=2))
    return 0
