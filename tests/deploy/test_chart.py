"""The Helm chart: Helm finds nothing, Kubernetes' own schemas accept what it renders, and every pod is restricted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.topic_catalogue import TopicNames
from tests.deploy.compose import OWN_IMAGE, ROOT, services

CHART = ROOT / "deploy" / "helm" / "vitals"
RULES = ROOT / "deploy" / "prometheus" / "vitals.rules.yml"
HELM = Path(sys.executable).with_name("helm")
LEAST = ("--set", "kafka.brokers=kafka:9092", "--set", "api.keysSecretName=keys")
ALL = (
    *LEAST,
    *("--set", "monitoring.enabled=true", "--set", "autoscaling.enabled=true", "--set", "topicPrefix=eu."),
    *("--set", "kafka.secretName=kafka-files", "--set", "kafka.environment.VITALS_KAFKA_SECURITY=sasl_ssl"),
    *("--set", "redis.secretName=redis", "--set", "modelConfigMap=model", "--set", "image.tag=1.2.3"),
    *("--set", "worker.nodeSelector.disk=fast", "--set-json", 'imagePullSecrets=[{"name":"pull"}]'),
)
VARIANTS = {"least": LEAST, "all": ALL}
VERSIONS = ("1.27", "1.34")
OF_OTHERS = {"ScaledObject", "PodMonitor", "PrometheusRule"}  # their schemas are KEDA's and the operator's


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm."""
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)


def rendered(variant: str) -> list[dict[str, Any]]:
    """Render the chart; return its objects."""
    done = helm("template", "health", str(CHART), *VARIANTS[variant])
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def pods(variant: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every pod's specification, by the name of what makes it."""
    for each in rendered(variant):
        if "template" in each.get("spec", {}):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def test_the_release_has_one_number() -> None:
    """Package, chart, and the image of the compose file."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    release = version("vitals")
    assert (chart["version"], chart["appVersion"], OWN_IMAGE) == (release, release, f"vitals:{release}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_helm_finds_nothing(variant: str) -> None:
    """Its linter, strictly."""
    done = helm("lint", "--strict", str(CHART), *VARIANTS[variant])
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("release", VERSIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_kubernetes_accepts_every_object(variant: str, release: str) -> None:
    """The oldest release that the chart names and a newer one know every field."""
    objects = rendered(variant)
    assert {each["kind"] for each in objects} >= {"StatefulSet", "Deployment", "Job", "Service", "PodDisruptionBudget"}
    for each in objects:
        if each["kind"] not in OF_OTHERS:
            kubernetes_validate.validate(each, release, strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_pod_is_restricted(variant: str) -> None:
    """As the restricted Pod Security Standard asks, with a read-only root besides and no token of the cluster's."""
    found = dict(pods(variant))
    assert set(found) == {"health-worker", "health-projector", "health-api", "health-topics"}
    for name, pod in found.items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert "memory" in container["resources"]["limits"], name


@pytest.mark.parametrize("variant", VARIANTS)
def test_roles_run_the_commands_that_are_tested(variant: str) -> None:
    """Those of the compose file, which tests run; each but the job of the topics has its three probes."""
    for name, pod in pods(variant):
        role = name.removeprefix("health-")
        (container,) = pod["containers"]
        assert container["args"][: len(services()[role]["command"])] == services()[role]["command"]
        probes = {each: container[each]["httpGet"]["path"] for each in container if each.endswith("Probe")}
        due = {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
        assert probes == ({} if role == "topics" else due)


def test_what_is_on_reaches_the_objects() -> None:
    """Topic of the autoscaler, rules, secrets by reference only, the tag of the image."""
    objects = {(each["kind"], each["metadata"]["name"]): each for each in rendered("all")}
    scaled = objects["ScaledObject", "health-worker"]["spec"]
    assert scaled["triggers"][0]["metadata"]["topic"] == TopicNames(prefix="eu.").input("usage")
    assert "replicas" not in objects["StatefulSet", "health-worker"]["spec"]
    rules = objects["PrometheusRule", "health"]["spec"]
    assert rules == yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for _, pod in pods("all"):
        (container,) = pod["containers"]
        assert container["image"] == "vitals:1.2.3"
        environment = {each["name"]: each for each in container["env"]}
        assert environment["VITALS_REDIS"]["valueFrom"]["secretKeyRef"] == {"name": "redis", "key": "url"}
        assert environment["VITALS_KAFKA_SECURITY"]["value"] == "sasl_ssl"
        assert {volume["name"] for volume in pod["volumes"]} >= {"tmp", "kafka", "model"}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("kafka.brokers=", "kafka.brokers"),
        ("api.keysSecretName=", "api.keysSecretName"),
        ("image.tag=latest", "image.tag"),
        ("redis.url=redis://user:secret@redis:6379/0", "redis.url"),
        ("worker.replicas=0", "worker.replicas"),
        ("worker.replica=3", "replica"),
        ("environment.BROKER=x", "BROKER"),
    ],
)
def test_wrong_values_are_refused(value: str, named: str) -> None:
    """Before anything is made, naming the value; one that nobody knows as well."""
    done = helm("template", "health", str(CHART), *LEAST, "--set", value)
    assert done.returncode != 0
    assert named in done.stderr
