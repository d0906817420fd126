"""``schema``: JSON schemas of the files, for an editor's completion and checks."""

from __future__ import annotations

import json
import sys
from typing import Any

from hilonn import registry
from hilonn.bench_file import BenchFile
from hilonn.errors import ConfigError
from hilonn.experiment import ExperimentFile


def bench_schema() -> dict[str, Any]:
    """The frame of a bench file, and under ``x-options`` each driver's own keys."""
    schema = BenchFile.model_json_schema()
    schema["x-options"] = {
        group.removeprefix("hilonn."): {
            name: registry.load(group, name).options.model_json_schema()
            for name in registry.names(group)
        }
        for group in ("hilonn.devices", "hilonn.transports", "hilonn.chips", "hilonn.monitors")
    }
    return schema


def experiment_schema() -> dict[str, Any]:
    """An experiment file; ``rule`` is one of the plugged-in rules."""
    schema = ExperimentFile.model_json_schema()
    rules = {
        name: registry.load("hilonn.rules", name).model_json_schema()
        for name in registry.names("hilonn.rules")
    }
    schema.setdefault("$defs", {}).update(rules)
    schema["properties"]["rule"] = {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in rules]}
    return schema


def schema_command(which: str) -> None:
    """Print the schema called ``which``."""
    known = {"bench": bench_schema, "experiment": experiment_schema}
    if which not in known:
        raise ConfigError(f"no schema {which!r}; there are {' and '.join(known)}")
    sys.stdout.write(json.dumps(known[which](), indent=2, default=str) + "\n")
