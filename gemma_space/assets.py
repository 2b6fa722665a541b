"""The files that come with the app, and where they are."""

import json
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
DEMO_MODEL = ASSETS / "demo-model"
DEMO_ADAPTER = ASSETS / "demo-adapter"


def examples() -> tuple[str, ...]:
    """What the Chat tab offers to begin with."""
    return tuple(json.loads((ASSETS / "examples.json").read_text(encoding="utf-8")))
