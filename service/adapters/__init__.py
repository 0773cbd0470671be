"""Everything that talks to the world outside this process."""
