"""The table of rights: what it never grants, how its commands read, and that the page about security shows it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from service.topic_acls import ACL_ROLES, AclRole, role_grants
from service.topic_catalogue import TopicNames, topic_specs
from tests.conftest import Vitals
from tests.security.acl_requests import rules

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
NAMES = TopicNames()


def rows() -> list[str]:
    """Write the table of the page."""
    made = ["| role | may | topics | groups |", "|---|---|---|---|"]
    for role, grants in role_grants(NAMES).items():
        for grant in grants:
            topics, groups = ([f"`{name}`" for name in names] for names in (grant.topics, grant.groups))
            made.append(f"| {role} | {', '.join(grant.operations)} | {', '.join(topics)} | {', '.join(groups)} |")
    return made


def test_the_page_shows_the_table() -> None:
    """docs/security.md has every row, in order, and no other."""
    head, *rest = rows()
    below = PAGE.read_text(encoding="utf-8").partition(f"{head}\n")[2]
    assert below.partition("\n\n")[0].splitlines() == rest, "\n".join(rows())


@pytest.mark.parametrize("role", ACL_ROLES)
def test_no_role_is_granted_what_none_needs(role: AclRole) -> None:
    """None may delete, none has a wildcard, each name is one of the deployment's; only the operator creates."""
    granted = role_grants(NAMES)[role]
    topics = {spec.name for spec in topic_specs(NAMES)}
    assert {name for grant in granted for name in grant.topics} <= topics
    assert {name for grant in granted for name in grant.groups} <= {NAMES.app_id, NAMES.projector_group}
    operations = {operation for grant in granted for operation in grant.operations}
    assert operations <= {"Read", "Write", "Describe", "DescribeConfigs", "AlterConfigs", "Create"}
    assert ("Create" in operations) == ("AlterConfigs" in operations) == (role == "operator")
    written = {name for grant in granted if "Write" in grant.operations for name in grant.topics}
    assert not {NAMES.scores, NAMES.alerts, NAMES.changelog, NAMES.audit} & written or role == "worker"


def test_the_commands_are_for_this_deployment(vitals: Vitals) -> None:
    """App id, prefix, brokers and principal are those given; a shell reads each line as meant; JSON is the same."""
    variables = {"VITALS_BROKER": "kafka:9093", "VITALS_APP_ID": "eu", "VITALS_TOPIC_PREFIX": "eu-"}
    done = vitals("topics", "acls", "projector", "--principal", "User:CN={role}, O=A B", **variables)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert shlex.split(line)[:3] == ["kafka-acls.sh", "--bootstrap-server", "kafka:9093"]
    granted = {(name, principal) for _, name, _, principal, *_ in rules(line)}
    assert granted == {
        (name, "User:CN=projector, O=A B")
        for name in (
            "eu-health-scores",
            "eu-health-alerts",
            "eu-account-audit",
            "eu-eu-state-changelog",
            "eu-eu-projector",
        )
    }
    told = json.loads(vitals("topics", "acls", "projector", "--json", **variables).stdout)
    (grant,) = told["projector"]
    assert {*grant["topics"], *grant["groups"]} == {name for name, _ in granted}
    assert len(vitals("topics", "acls").stdout.splitlines()) == sum(map(len, role_grants(NAMES).values()))
    assert vitals("topics", "acls", "root").returncode == 2
