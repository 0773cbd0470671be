"""The whole health model once more, as slowly and plainly as docs/model.md states it.

Written from that page alone: it shares no code with the product, not even a constant. Events come in as they cross the
wire (CloudEvents as dicts), the model as the dict that its YAML gives. Nothing here knows when an account is due: time
is walked midnight by midnight, and everything is read anew from what was counted.
"""

from __future__ import annotations

from tests.oracle.account import Oracle

__all__ = ["Oracle"]
