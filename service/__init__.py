"""Everything that is not a Faust agent: the scoring core, its edges, and the jobs of the command line."""
