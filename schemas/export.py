"""`python -m schemas.export`: writes the golden JSON Schemas of new message versions, and guards the released ones.

A released schema is replaced only by one that old readers and old events get along with (`schemas.compat`).
Examples are written by hand, beside the schemas; this command never touches them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from schemas.catalogue import INPUTS, OUTPUTS, InputMessage, OutputMessage
from schemas.compat import breaks

GOLDEN: Final = Path(__file__).with_name("golden")


def schema_path(message: InputMessage | OutputMessage, folder: Path = GOLDEN) -> Path:
    """Name the golden schema file of a message's current version."""
    return folder / f"{message.short}.v{message.version}.json"


def examples_path(message: InputMessage | OutputMessage, folder: Path = GOLDEN) -> Path:
    """Name the file of example events of a message's current version, a JSON array."""
    return folder / f"{message.short}.v{message.version}.examples.json"


def current_schema(message: InputMessage | OutputMessage) -> dict[str, Any]:
    """Make the JSON Schema of a message as it is in code: what may come in, or what goes out."""
    is_input = isinstance(message, InputMessage)
    schema = message.event.model_json_schema(by_alias=True, mode="validation" if is_input else "serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:{message.type}", **schema}


def export(messages: list[InputMessage | OutputMessage], folder: Path) -> list[str]:
    """Write what is new or compatible, leave the rest alone, and list the refusals."""
    refusals: list[str] = []
    for message in messages:
        path = schema_path(message, folder)
        schema = current_schema(message)
        if path.exists():
            old = json.loads(path.read_text(encoding="utf-8"))
            found = breaks(old, schema, "input" if isinstance(message, InputMessage) else "output")
            if found:
                refusals += [f"{path.name}: {line}" for line in found]
                continue
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    return refusals


def main() -> int:
    """Export to the golden folder or another; exit 1 when a released schema would break."""
    parser = argparse.ArgumentParser(prog="python -m schemas.export", description=__doc__)
    parser.add_argument("--folder", type=Path, default=GOLDEN, help="where the golden files are")
    folder: Path = parser.parse_args().folder
    refusals = export([*INPUTS.values(), *OUTPUTS.values()], folder)
    for line in refusals:
        sys.stderr.write(f"refused {line}\n")
    if refusals:
        sys.stderr.write("A breaking change is a new version in schemas/catalogue.py beside the old one.\n")
    return 1 if refusals else 0


if __name__ == "__main__":
    sys.exit(main())
