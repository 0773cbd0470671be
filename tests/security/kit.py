"""A broker with TLS, logins and ACLs, and certificates made for one run."""

from __future__ import annotations

import asyncio
import datetime as dt
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from service.adapters.embedded_config import LOG_SETTINGS, broker_properties, java_command
from service.adapters.embedded_kafka import free_ports
from service.adapters.embedded_process import ProcessMark, send, spawn, state_of, wait_stopped
from service.adapters.kafka_artifacts import locked_jars, read_lock
from service.adapters.topic_admin import broker_ids
from service.errors import DependencyError
from service.settings import Settings, load_settings
from service.topic_acls import ACL_ROLES, acl_commands
from service.topic_catalogue import TopicNames
from tests.security.acl_requests import create_acls, rules

HOST = "127.0.0.1"
ADMIN = "admin"
CLUSTER_ID = "c2VjdXJlZC1icm9rZXItMQ"
START_SECONDS = 60.0
SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"
ACL_CLASS = "org.apache.kafka.tools.AclCommand"  # what kafka-acls.sh runs
HEAP_OF_TOOLS = "-Xmx96m"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


def make_identity(ca: trustme.CA, folder: Path, name: str, *, is_expired: bool = False, host: str = HOST) -> Identity:
    """Have a certificate signed for a name; its key is in PKCS#8, the form that Kafka takes."""
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    issued = ca.issue_cert(host, common_name=name, not_after=yesterday if is_expired else None)
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    identity = Identity(folder / f"{name}.crt", folder / f"{name}.key")
    identity.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    identity.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return identity


class SecuredKafka:
    """One broker: SASL_SSL, SSL that asks for certificates, SSL with an expired one, and a plain one for the tests.

    The ACLs of the roles hold on all but the plain listener, whose nameless client may do everything.
    """

    def __init__(self, data: Path, names: TopicNames) -> None:
        self.data = data
        self.names = names
        self._ports = free_ports(5)
        self.plain, self.sasl, self.mutual, self.expired = (f"{HOST}:{port}" for port in self._ports[:4])
        self.ca = trustme.CA(organization_name="Vitals tests")
        self.ca_file = data / "ca.crt"
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        self.passwords = {name: f"hush-{name}-{data.name}" for name in (ADMIN, *ACL_ROLES)}
        self._tools = locked_jars(read_lock(Path(__file__).with_name("kafka_tools.lock")), "Kafka's tools")
        self._log = data / "broker.log"
        self._mark: ProcessMark | None = None

    def start(self) -> None:
        """Make its storage and its users, and wait until it answers."""
        (self.data / "tmp").mkdir()
        (self.data / "log4j2.properties").write_text(LOG_SETTINGS)
        properties = self.data / "server.properties"
        properties.write_text(self._properties())
        users = [
            part
            for name, password in self.passwords.items()
            for part in ("--add-scram", f"SCRAM-SHA-512=[name={_user(name)},password={password}]")
        ]
        self._tool("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties), *users)
        self._mark = spawn(java_command(self.data, "kafka.Kafka", str(properties)), self._log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                asyncio.run(broker_ids(self.plain))
            except DependencyError:
                assert state_of(self._mark) != "stopped", self._log.read_text()[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End it at once: nothing of it is kept."""
        send(self._mark, signal.SIGKILL)
        wait_stopped([self._mark], 10)

    def apply_acls(self) -> None:
        """Grant what `vitals topics acls` prints.

        The projector's command is run with Kafka's own tool, as an operator would; a virtual machine for each of them
        would take half a minute, so the others are read and sent in one request.
        """
        commands = {role: list(acl_commands(self.names, [role], self.sasl)) for role in ACL_ROLES}
        (by_tool,) = commands.pop("projector")
        asyncio.run(
            create_acls(self.plain, [rule for role in commands for line in commands[role] for rule in rules(line)])
        )
        login = self.data / "admin.properties"
        login.write_text(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n"
            f"ssl.truststore.location={self.ca_file}\n"
            f'sasl.jaas.config={SCRAM_MODULE} required username="{ADMIN}" password="{self.passwords[ADMIN]}";\n'
        )
        arguments = [str(login) if part == login.name else part for part in shlex.split(by_tool)[1:]]
        self._tool(ACL_CLASS, *arguments)

    def _tool(self, main_class: str, *arguments: str) -> None:
        command = java_command(self.data, main_class, *arguments, heap=HEAP_OF_TOOLS)
        command[command.index("-cp") + 1] += "".join(f":{jar}" for jar in self._tools)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def settings(self, role: str, **overrides: object) -> Settings:
        """Make the settings of a role that logs in with its own name; `overrides` come before."""
        password = self.data / f"{role}.password"
        password.write_text(self.passwords[role] + "\n")
        given: dict[str, object] = {
            "broker": self.sasl,
            "kafka_security": "sasl_ssl",
            "kafka_ca": self.ca_file,
            "kafka_username": _user(role),
            "kafka_password_file": password,
            "app_id": self.names.app_id,
            "topic_prefix": self.names.prefix,
            "session_timeout_seconds": 6,
        }
        return load_settings(**{**given, **overrides})

    def _properties(self) -> str:
        plain, sasl, mutual, expired, controller = self._ports
        listeners = (
            f"PLAINTEXT://{HOST}:{plain},SASL://{HOST}:{sasl},MUTUAL://{HOST}:{mutual},EXPIRED://{HOST}:{expired}"
        )
        good = make_identity(self.ca, self.data, "broker")
        old = make_identity(self.ca, self.data, "old-broker", is_expired=True)
        settings = {
            "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL,EXPIRED:SSL"
            ),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": f"{SCRAM_MODULE} required;",
            "listener.name.mutual.ssl.client.auth": "required",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.ca_file,
            **_keystore("", good),
            **_keystore("listener.name.expired.", old),
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{ADMIN}",
        }
        # Of two lines for one setting the last holds.
        base = broker_properties(1, [(plain, controller)], self.data / "broker-1")
        return base + "".join(f"{name}={value}\n" for name, value in settings.items())

    @staticmethod
    def both_in_one(identity: Identity) -> Path:
        """Write key and certificates into the one file that Kafka takes."""
        path = identity.key.with_suffix(".pem")
        path.write_bytes(identity.key.read_bytes() + identity.certificate.read_bytes())
        return path


def _keystore(listener: str, identity: Identity) -> dict[str, object]:
    return {
        f"{listener}ssl.keystore.type": "PEM",
        f"{listener}ssl.keystore.location": SecuredKafka.both_in_one(identity),
    }


def _user(name: str) -> str:
    return name if name == ADMIN else f"vitals-{name}"


def variables(settings: Settings) -> dict[str, str]:
    """Write settings as a process is given them."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    secrets = {name: value.get_secret_value() for name, value in given.items() if hasattr(value, "get_secret_value")}
    return {f"VITALS_{name.upper()}": str(value) for name, value in {**given, **secrets}.items()}
