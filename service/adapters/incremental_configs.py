"""The Kafka request that alters single topic settings and leaves the others alone (KIP-339), which aiokafka lacks."""

# ruff: noqa: N801 - class names and attributes are those that aiokafka's protocol layer asks for

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

TOPIC_RESOURCE = 2
OPERATION_SET = 0
_TEXT = String("utf-8")


class IncrementalAlterConfigsResponse_v0(Response):  # type: ignore[misc]  # aiokafka ships no annotations
    """Version 0, which Kafka 2.3 and later speak."""

    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(("error_code", Int16), ("error_message", _TEXT), ("resource_type", Int8), ("resource_name", _TEXT)),
        ),
    )


class IncrementalAlterConfigsRequest_v0(RequestStruct):  # type: ignore[misc]  # aiokafka ships no annotations
    """Version 0, which Kafka 2.3 and later speak."""

    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = IncrementalAlterConfigsResponse_v0
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", _TEXT),
                ("configs", Array(("name", _TEXT), ("config_operation", Int8), ("value", _TEXT))),
            ),
        ),
        ("validate_only", Boolean),
    )


class IncrementalAlterConfigsRequest(Request[IncrementalAlterConfigsRequest_v0]):  # type: ignore[misc]  # as above
    """Sets some settings of some topics: topic to setting to value."""

    API_KEY = 44

    def __init__(self, changes: Mapping[str, Mapping[str, str]]) -> None:
        self._resources = [
            (TOPIC_RESOURCE, topic, [(name, OPERATION_SET, value) for name, value in settings.items()])
            for topic, settings in changes.items()
        ]

    def build(self, request_struct_class: Any) -> Any:
        """Make the wire form of the version that the broker speaks."""
        return request_struct_class(self._resources, False)
