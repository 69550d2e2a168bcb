"""The compose file: as the specification's schema wants it, and with the limits and rules that production needs."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from app.gateway import MOST_FINISH_S, TURN_S
from app.main import GRACE_S
from app.settings import Settings

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "vendor/compose-spec.json").read_text())
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = ("migrate", "serve", "worker")


def _faults(document: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema_rs.validator_for(SCHEMA).iter_errors(document)]


def test_the_file_is_what_the_specification_describes() -> None:
    assert _faults(COMPOSE) == []


def test_the_schema_would_find_a_fault() -> None:
    broken = {**COMPOSE, "services": {**SERVICES, "serve": {**SERVICES["serve"], "restarts": "always"}}}
    assert _faults(broken)
    assert _faults({**COMPOSE, "service": {}})


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_limited_and_holds_no_rights(name: str) -> None:
    service = SERVICES[name]
    limits = ("mem_limit", "memswap_limit", "cpus", "pids_limit")
    assert [limit for limit in limits if not service.get(limit)] == []
    assert service["read_only"] is True
    assert next(mount.partition(":")[0] for mount in service["tmpfs"]) == "/tmp"
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert service["healthcheck"]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert "privileged" not in service
    assert name == "postgres" or "cap_add" not in service


def test_only_serve_is_published_and_the_database_has_no_way_out() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["serve"]
    assert [one.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:") for one in SERVICES["serve"]["ports"]] == [True]
    assert SERVICES["postgres"]["networks"] == ["database"]
    assert COMPOSE["networks"]["database"]["internal"] is True
    assert all(set(SERVICES[name]["networks"]) == {"database", "outside"} for name in OURS)


def test_the_database_is_pinned_to_a_minor_release() -> None:
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", SERVICES["postgres"]["image"])


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_a_process_has_the_time_to_end_in_order(name: str) -> None:
    """Drain, answers under way, then what `Gateway.stop` waits for, one after the other: the loops, submissions,
    queries, notifications, refreshes, the database."""
    drain_s = Settings.model_fields["drain_s"].default
    most_s = drain_s + GRACE_S + TURN_S + MOST_FINISH_S + 4 * TURN_S
    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > most_s


def test_the_kubernetes_hints_say_the_same() -> None:
    [text] = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE | re.DOTALL)
    pod = yaml.safe_load(text)["spec"]
    [container] = pod["containers"]
    assert f"{pod['terminationGracePeriodSeconds']}s" == SERVICES["serve"]["stop_grace_period"]
    assert container["command"] == SERVICES["serve"]["command"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert probes == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
    ready = container["readinessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] < Settings.model_fields["drain_s"].default
    assert f"USER {pod['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()


def test_no_secret_is_in_the_file() -> None:
    passwords = re.findall(r"PASSWORD\S*", (ROOT / "docker-compose.yml").read_text())
    assert passwords
    assert all(re.match(r"PASSWORD(:$|:\?|$)", one) for one in passwords), passwords
