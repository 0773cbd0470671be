"""Who leads: a partition, and the quorum of controllers, whose request (KIP-595) aiokafka lacks."""

# ruff: noqa: N801 - class names and attributes are those that aiokafka's protocol layer asks for

from __future__ import annotations

from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from service.adapters.topic_admin import open_admin

METADATA_TOPIC = "__cluster_metadata"
_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_REPLICAS = CompactArray(("replica_id", Int32), ("log_end_offset", Int64), _TAGS)


class DescribeQuorumResponse_v0(Response):  # type: ignore[misc]  # aiokafka ships no annotations
    """Version 0, which Kafka 3.0 and later speak."""

    API_KEY = 55
    API_VERSION = 0
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic_name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition_index", Int32),
                        ("error_code", Int16),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("high_watermark", Int64),
                        ("current_voters", _REPLICAS),
                        ("observers", _REPLICAS),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class DescribeQuorumRequest_v0(RequestStruct):  # type: ignore[misc]  # aiokafka ships no annotations
    """Version 0, which Kafka 3.0 and later speak."""

    FLEXIBLE_VERSION = True
    API_KEY = 55
    API_VERSION = 0
    RESPONSE_TYPE = DescribeQuorumResponse_v0
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_name", _TEXT), ("partitions", CompactArray(("partition_index", Int32), _TAGS)), _TAGS),
        ),
        _TAGS,
    )


class DescribeQuorumRequest(Request[DescribeQuorumRequest_v0]):  # type: ignore[misc]  # as above
    """Asks for the leader of the controllers."""

    API_KEY = 55

    def build(self, request_struct_class: Any) -> Any:
        """Make the wire form of the version that the broker speaks."""
        return request_struct_class([(METADATA_TOPIC, [(0, {})], {})], {})


async def controller(bootstrap: str) -> int:
    """Return the id of the node that leads the quorum of controllers."""
    async with open_admin(bootstrap) as admin:
        response = await admin._send_request(DescribeQuorumRequest())
        partition = response.to_object()["topics"][0]["partitions"][0]
        assert partition["error_code"] == 0, partition
        found: int = partition["leader_id"]
        return found


async def leader_of(bootstrap: str, topic: str, partition: int) -> int:
    """Return the id of the broker that leads a partition."""
    async with open_admin(bootstrap) as admin:
        (described,) = await admin.describe_topics([topic])
        leaders: dict[int, int] = {each["partition"]: each["leader"] for each in described["partitions"]}
        return leaders[partition]
