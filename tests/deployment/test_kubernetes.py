"""The manifests: as the schema of Kubernetes wants them, and of one mind with each other, the image and the code."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from app.settings import Settings
from tests.deployment.test_compose import MOST_TO_END_S, SERVICES

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "vendor/kubernetes.json").read_text())
FILES = sorted((ROOT / "ops/kubernetes").glob("*.yaml"))
MANIFESTS: dict[str, dict[str, Any]] = {
    f"{one['kind']} {one['metadata']['name']}": one for file in FILES for one in yaml.safe_load_all(file.read_text())
}
PODS = {
    name: one["spec"]["template"]["spec"] for name, one in MANIFESTS.items() if one["kind"] in ("Deployment", "Job")
}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def _faults(manifest: dict[str, Any]) -> list[str]:
    wanted = SCHEMA["kinds"][f"{manifest['apiVersion']}/{manifest['kind']}"]
    schema = {"$ref": f"#/$defs/{wanted}", "$defs": SCHEMA["$defs"]}
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(manifest)]


def _container(name: str) -> dict[str, Any]:
    [container] = PODS[name]["containers"]
    return dict(container)


def _named(container: dict[str, Any], kind: str) -> set[str]:
    return {one[kind]["name"] for one in container["envFrom"] if kind in one}


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_each_manifest_is_what_the_schema_describes(name: str) -> None:
    assert _faults(MANIFESTS[name]) == []


def test_the_schema_would_find_a_fault() -> None:
    serve = MANIFESTS["Deployment tempolor-gateway-serve"]
    assert _faults({**serve, "spec": {**serve["spec"], "replica": 2}})
    assert _faults({**serve, "spec": {**serve["spec"], "replicas": "two"}})


@pytest.mark.parametrize("name", sorted(PODS))
def test_every_pod_is_limited_and_holds_no_rights(name: str) -> None:
    pod, container = PODS[name], _container(name)
    assert f"USER {pod['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    rights = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert container["securityContext"] == rights
    assert container["resources"]["limits"]["memory"] == "512Mi"
    assert container["image"] == f"tempolor-gateway:{VERSION}"


def test_each_has_the_secrets_that_it_needs() -> None:
    database, vendor, admin = (f"tempolor-gateway{part}" for part in ("-database", "", "-admin"))
    wanted = {"migrate": {database}, "worker": {database, vendor}, "serve": {database, vendor, admin}}
    held = {_container(name)["name"]: _named(_container(name), "secretRef") for name in PODS}
    assert held == wanted
    secrets = {one["metadata"]["name"]: one["stringData"] for one in MANIFESTS.values() if one["kind"] == "Secret"}
    assert secrets.keys() == {database, vendor, admin}
    assert {value for values in secrets.values() for value in values.values()} == {""}
    told = MANIFESTS["ConfigMap tempolor-gateway"]["data"].keys() | {name for one in secrets.values() for name in one}
    known = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} | {"FORWARDED_ALLOW_IPS"}
    assert told <= known


def test_what_is_named_is_there() -> None:
    pods = [MANIFESTS[name]["spec"]["template"]["metadata"]["labels"] for name in PODS]
    for manifest in MANIFESTS.values():
        chosen = manifest.get("spec", {}).get("selector")
        if chosen is not None:
            labels = chosen.get("matchLabels", chosen)
            assert [one for one in pods if labels.items() <= one.items()], manifest["metadata"]
    for name in PODS:
        assert _named(_container(name), "configMapRef") <= {"tempolor-gateway"}
    [rule] = MANIFESTS["Ingress tempolor-gateway-callbacks"]["spec"]["rules"]
    paths = rule["http"]["paths"]
    assert [(path["path"], path["pathType"]) for path in paths] == [("/callbacks/", "Prefix"), ("/files/", "Prefix")]
    for path in paths:
        service = MANIFESTS[f"Service {path['backend']['service']['name']}"]
        assert [port["name"] for port in service["spec"]["ports"]] == [path["backend"]["service"]["port"]["name"]]


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_a_process_is_watched_and_has_the_time_to_end_in_order(name: str) -> None:
    manifest = f"Deployment tempolor-gateway-{name}"
    container = _container(manifest)
    drain_s = float(MANIFESTS["ConfigMap tempolor-gateway"]["data"]["GATEWAY_DRAIN_S"])
    assert PODS[manifest]["terminationGracePeriodSeconds"] > MOST_TO_END_S + drain_s
    probes = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")}
    assert probes == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
    assert {container[f"{probe}Probe"]["httpGet"]["port"] for probe in probes} == {container["ports"][0]["name"]}
    if name == "serve":
        ready = container["readinessProbe"]
        assert ready["periodSeconds"] * ready["failureThreshold"] < drain_s
    compose = SERVICES["serve-1" if name == "serve" else "worker"]
    assert container["command"] == compose["command"]
    scraped = MANIFESTS[manifest]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"]
    assert int(scraped) == container["ports"][0]["containerPort"]


def test_the_page_names_each_file() -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    assert [file.name for file in FILES if f"ops/kubernetes/{file.name}" not in page] == []
    assert re.search(r"job/(\S+)", (ROOT / "ops/kubernetes/migrate.yaml").read_text())
