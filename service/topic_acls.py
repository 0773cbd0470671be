"""What each role may do at the brokers, and nothing more: one table, from which the `kafka-acls` commands are written.

Describe comes with Read and Write. No role but the operator may create or alter a topic; none may delete one.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from service.topic_catalogue import TOPIC_KINDS, TopicNames

AclRole = Literal["worker", "projector", "api", "operator", "publisher"]
Operation = Literal["Read", "Write", "Describe", "DescribeConfigs", "AlterConfigs", "Create"]
ACL_ROLES: Final[tuple[AclRole, ...]] = get_args(AclRole)
DEFAULT_PRINCIPAL: Final = "User:vitals-{role}"


@dataclass(frozen=True, slots=True)
class Grant:
    """Operations that a role may do with topics and consumer groups of exactly these names."""

    operations: tuple[Operation, ...]
    topics: tuple[str, ...]
    groups: tuple[str, ...] = ()


def role_grants(names: TopicNames) -> dict[AclRole, list[Grant]]:
    """List what each role of a deployment is granted."""
    inputs, actions = tuple(names.inputs), names.input("action")
    events = tuple(topic for topic in inputs if topic != actions)
    dead_letters = tuple(map(names.dead_letters, TOPIC_KINDS))
    outputs = (names.scores, names.alerts, names.audit)
    everything = (*inputs, names.rekeyed, *dead_letters, *outputs, names.changelog, names.clock)
    return {
        "worker": [
            # Scores, too: what a worker that died wrote of them last is looked up.
            Grant(("Read",), (*inputs, names.rekeyed, names.changelog, names.scores), (names.app_id,)),
            Grant(("Write",), (names.rekeyed, *dead_letters, *outputs, names.changelog)),
            Grant(("Describe",), (names.clock,)),
        ],
        "projector": [
            Grant(("Read",), (names.scores, names.alerts, names.changelog, names.audit), (names.projector_group,))
        ],
        "api": [
            Grant(("Read",), (names.audit, *dead_letters)),
            Grant(("Write",), (actions,)),
            Grant(("Describe",), (*inputs, names.rekeyed, names.scores, names.alerts), (names.app_id,)),
            Grant(("DescribeConfigs",), (*inputs, names.rekeyed)),
        ],
        "operator": [
            Grant(("Read",), everything, (names.app_id,)),
            Grant(("Write",), (*inputs, names.rekeyed, *dead_letters, names.clock)),
            Grant(("Create", "DescribeConfigs", "AlterConfigs"), everything),
        ],
        "publisher": [Grant(("Write",), events), Grant(("Describe",), (actions,))],
    }


def acl_commands(
    names: TopicNames, roles: Iterable[AclRole], bootstrap: str, principal: str = DEFAULT_PRINCIPAL
) -> Iterator[str]:
    """Write the commands that grant these roles what they may, for a shell; `{role}` in `principal` is the role."""
    for role in roles:
        for grant in role_grants(names)[role]:
            options = [
                *(("--allow-principal", principal.replace("{role}", role))),
                *(part for operation in grant.operations for part in ("--operation", operation)),
                *(part for topic in grant.topics for part in ("--topic", topic)),
                *(part for group in grant.groups for part in ("--group", group)),
            ]
            login = ["--bootstrap-server", bootstrap, "--command-config", "admin.properties"]
            yield shlex.join(["kafka-acls.sh", *login, "--add", *options])
