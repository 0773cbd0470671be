"""The HTTP API: reads the copy in Redis, and nothing else. Built by call; importing it opens nothing."""
