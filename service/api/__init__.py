"""The HTTP API: reads the copy in Redis, and sends what people do as commands.

Built by call; importing it opens nothing.
"""
