"""The one way in which tests change the product in a worker under test: a function is replaced by name."""

from __future__ import annotations

from typing import Any


def patch(owner: Any, name: str, patched: Any) -> Any:
    """Replace a function of a class or module; return the one that was there."""
    before = getattr(owner, name)
    setattr(owner, name, patched)
    return before
