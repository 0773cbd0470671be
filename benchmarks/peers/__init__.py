"""Vitals' runtime beside other engines: the same keyed work on the same topic, in turns, measured from outside."""
