"""A believable B2B event stream, made from a seed alone.

What the accounts do lives here; how the stream is written to files or paced lives in the command. No clock
and no hash of a string takes part: the same arguments give the same bytes on every machine.
"""

from __future__ import annotations

from service.simulation.profile import Archetype, Profile, draw_profile
from service.simulation.stream import DEFAULT_START_DAY, Simulation, TimedLine

__all__ = ["DEFAULT_START_DAY", "Archetype", "Profile", "Simulation", "TimedLine", "draw_profile"]
