"""Granting rights as kafka-acls does: its command lines read, and the request that it sends."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest_v1, DeleteAclsRequest
from aiokafka.protocol.api import Request

from service.adapters.topic_admin import open_admin

# Numbers of Kafka's protocol.
ANY_OPERATION = 1
TOPIC, GROUP, LITERAL, ALLOW, ANY_HOST = 2, 3, 3, 3, "*"
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10, "AlterConfigs": 11}

Rule = tuple[int, str, int, str, str, int, int]


class _CreateAcls(Request[CreateAclsRequest_v1]):  # type: ignore[misc]  # aiokafka ships no annotations
    """Adds many rules at once; aiokafka's own class takes one."""

    API_KEY = 30

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = list(rules)

    def build(self, request_struct_class: Any) -> Any:
        """Make the wire form."""
        return request_struct_class(self._rules)


def rules(command: str) -> Iterator[Rule]:
    """Read a kafka-acls command line; raises SystemExit for anything in it that is not known here."""
    tool, *arguments = shlex.split(command)
    assert tool == "kafka-acls.sh"
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--command-config", required=True)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", required=True, choices=OPERATIONS)
    parser.add_argument("--topic", action="append", default=[])
    parser.add_argument("--group", action="append", default=[])
    told = parser.parse_args(arguments)
    for kind, name in chain(((TOPIC, name) for name in told.topic), ((GROUP, name) for name in told.group)):
        for operation in told.operation:
            yield kind, name, LITERAL, told.allow_principal, ANY_HOST, OPERATIONS[operation], ALLOW


async def create_acls(bootstrap: str, rules: Sequence[Rule]) -> None:
    """Add rules; raises the broker's error."""
    async with open_admin(bootstrap) as admin:
        response = await admin._send_request(_CreateAcls(rules))
        for error_code, error_message in response.creation_responses:
            if error_code:
                raise for_code(error_code)(error_message)


async def delete_acls(bootstrap: str, topic: str, principal: str) -> None:
    """Take all rights on a topic away from somebody."""
    async with open_admin(bootstrap) as admin:
        request = DeleteAclsRequest(TOPIC, topic, LITERAL, principal, ANY_HOST, ANY_OPERATION, ALLOW)
        ((error_code, error_message, *_),) = (await admin._send_request(request)).filter_responses
        if error_code:
            raise for_code(error_code)(error_message)
