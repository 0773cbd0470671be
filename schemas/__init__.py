"""What crosses the wire, and nothing else: messages, their golden JSON Schemas, and what keeps both compatible.

Only pydantic and orjson may be used here; nothing of the service or the agents may be known.
"""
