"""The Kafka request that tells a broker's features (KIP-584), and so its release, in a version that aiokafka lacks."""

# ruff: noqa: N801 - class names and attributes are those that aiokafka's protocol layer asks for

from __future__ import annotations

from importlib.metadata import version
from io import BytesIO
from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

_TEXT: Final = CompactString("utf-8")
_SUPPORTED_FEATURES: Final = 0
_FEATURES: Final = CompactArray(("name", _TEXT), ("min", Int16), ("max", Int16), ("tags", TaggedFields))
# The first level of `metadata.version` that each release knows; a level in between belongs to the release before.
_RELEASES: Final = (
    (7, "3.3"), (8, "3.4"), (9, "3.5"), (12, "3.6"), (15, "3.7"), (20, "3.8"), (21, "3.9"), (22, "4.0"), (26, "4.1"),
    (28, "4.2"), (30, "4.3"),
)  # fmt: skip


class ApiVersionsResponse_v3(Response):  # type: ignore[misc]  # aiokafka ships no annotations
    """Version 3, which Kafka 2.4 and later speak."""

    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_keys", CompactArray(("api_key", Int16), ("min", Int16), ("max", Int16), ("tags", TaggedFields))),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class ApiVersionsRequest_v3(RequestStruct):  # type: ignore[misc]  # aiokafka ships no annotations
    """Version 3, which Kafka 2.4 and later speak."""

    API_KEY = 18
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = ApiVersionsResponse_v3
    SCHEMA = Schema(("client", _TEXT), ("client_version", _TEXT), ("tags", TaggedFields))

    def parse_response_header(self, read_buffer: BytesIO) -> Any:
        """Read the oldest header: it is the only one that this response has, in every version."""
        return ResponseHeader_v0.decode(read_buffer)


class ApiVersionsRequest(Request[ApiVersionsRequest_v3]):  # type: ignore[misc]  # as above
    """Asks one broker what it speaks."""

    API_KEY = 18

    def build(self, request_struct_class: Any) -> Any:
        """Make the wire form of the version that the broker speaks."""
        return request_struct_class("vitals", version("vitals"), {})


def kafka_release(response: Any) -> str | None:
    """Name the release of the broker that answered, such as `4.3`; None when it does not tell."""
    stored: bytes | None = response.tags.get(_SUPPORTED_FEATURES)
    features = _FEATURES.decode(BytesIO(stored)) if stored else []
    level = next((highest for name, _, highest, _ in features if name == "metadata.version"), 0)
    return next((release for first, release in reversed(_RELEASES) if level >= first), None)
