"""The pure scoring core: state, signals, factors, score, bands and alerts of one customer account.

Standard library only. No clock, no logging, no I/O: time is an argument, effects are return values. The modules are
plain Python; the same modules compiled come first where they were built (`service.compiled`).
"""

from __future__ import annotations

from service.compiled import compiled_folder

IS_COMPILED = (_folder := compiled_folder()) is not None
if _folder is not None:
    __path__.insert(0, str(_folder))
