"""The compose file: as the specification's schema wants it, and with the limits and rules that production needs."""

import json
import re
import shutil
import subprocess
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from app.gateway import ITERATION_S, MOST_FINISH_S
from app.main import GRACE_S
from app.settings import Settings

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "vendor/compose-spec.json").read_text())
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
SERVES = ("serve-1", "serve-2")
OURS = ("migrate", *SERVES, "worker")
MOST_TO_END_S = GRACE_S + ITERATION_S + MOST_FINISH_S + 4 * ITERATION_S
"""After the drain: answers under way, then what `Gateway.stop` waits for, one after the other: the loops, submissions,
queries, notifications, refreshes, the database."""


def _faults(document: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema_rs.validator_for(SCHEMA).iter_errors(document)]


def test_the_file_is_what_the_specification_describes() -> None:
    assert _faults(COMPOSE) == []


def test_the_schema_would_find_a_fault() -> None:
    broken = {**COMPOSE, "services": {**SERVICES, "proxy": {**SERVICES["proxy"], "restarts": "always"}}}
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


def test_only_the_proxy_is_published_and_the_database_has_no_way_out() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"proxy", "prometheus", "grafana"}
    assert all(one.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:") for one in published.pop("proxy"))
    assert all(one.startswith("127.0.0.1:") for ports in published.values() for one in ports)
    assert SERVICES["postgres"]["networks"] == ["database"]
    assert COMPOSE["networks"]["database"]["internal"] is True
    assert [name for name in SERVICES if "database" in SERVICES[name]["networks"]] == ["postgres", *OURS]
    assert not {"database", "outside"} & set(SERVICES["proxy"]["networks"])


def test_the_proxy_finds_each_serve_at_an_address_that_stays() -> None:
    config = (ROOT / "ops/nginx/compose.conf").read_text()
    assert set(re.findall(r"server (\S+):8000", config)) == set(SERVES)
    assert SERVICES["serve-1"] == {**SERVICES["serve-2"], "networks": SERVICES["serve-1"]["networks"]}
    addresses = [SERVICES[name]["networks"]["front"]["ipv4_address"] for name in ("proxy", *SERVES)]
    [place] = COMPOSE["networks"]["front"]["ipam"]["config"]
    assert len({one for one in addresses if ip_address(one) in ip_network(place["subnet"])}) == 3
    assert SERVICES["serve-1"]["environment"]["FORWARDED_ALLOW_IPS"] == f"${{FORWARDED_ALLOW_IPS:-{addresses[0]}}}"
    assert SERVICES["proxy"]["depends_on"].keys() == set(SERVES)


def test_an_archive_in_a_directory_is_one_volume_that_lasts_and_is_the_gateways() -> None:
    assert [name for name in SERVICES if "archive:/data/archive" in SERVICES[name].get("volumes", ())] == [
        *SERVES,
        "worker",
    ]
    assert "archive" in COMPOSE["volumes"]
    # A new volume has the owner and the mode of the image's directory.
    assert "install -d -o gateway -g gateway -m 0750 /data /data/archive" in (ROOT / "Dockerfile").read_text()


def test_secrets_are_where_they_are_needed() -> None:
    assert [name for name, service in SERVICES.items() if "env_file" in service] == [*SERVES, "worker"]
    for name in (*SERVES, "worker"):
        assert SERVICES[name]["environment"]["POSTGRES_PASSWORD"] == ""
    # What is empty is not set; it overrides what the file has.
    assert SERVICES["worker"]["environment"]["GATEWAY_BOOTSTRAP_ADMIN_KEY"] == ""
    named = {name: json.dumps(service).count("POSTGRES_PASSWORD:?") for name, service in SERVICES.items()}
    assert {name for name, count in named.items() if count} == {"postgres", *OURS}


def test_images_are_tagged() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name in OURS:
        assert SERVICES[name]["image"] == f"${{IMAGE:-tempolor-gateway:{version}}}"
        assert SERVICES[name]["build"]["args"] == {"VERSION": version, "OTEL": "${OTEL:-no}"}
    others = {SERVICES[name]["image"] for name in SERVICES if name not in OURS}
    assert all(re.fullmatch(r"[\w/]+:v?\d+\.\d+(\.\d+)?(-\w+)?", image) for image in others), others


def test_prometheus_and_grafana_are_only_there_if_asked_for() -> None:
    assert [name for name, service in SERVICES.items() if service.get("profiles")] == ["prometheus", "grafana"]
    mounted = [
        one.split(":")[0] for service in SERVICES.values() for one in service.get("volumes", ()) if one[0] == "."
    ]
    assert len(mounted) == 6
    assert [path for path in mounted if not (ROOT / path).is_file()] == []
    scraped = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert [one["targets"] for job in scraped for one in job["static_configs"]] == [[f"{name}:8000" for name in SERVES]]
    assert [one["names"] for job in scraped for one in job["dns_sd_configs"]] == [["worker"]]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not there (Debian: prometheus)")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    config = (ROOT / "ops/prometheus/prometheus.yml").read_text()
    place = tmp_path / "prometheus.yml"
    place.write_text(config.replace("/etc/prometheus/alerts.yml", str(ROOT / "ops/alerts.yml")))
    ended = subprocess.run(["promtool", "check", "config", place], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_database_is_pinned_to_a_minor_release() -> None:
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", SERVICES["postgres"]["image"])


@pytest.mark.parametrize("name", [*SERVES, "worker"])
def test_a_process_has_the_time_to_end_in_order(name: str) -> None:
    drain_s = Settings.model_fields["drain_s"].default
    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > drain_s + MOST_TO_END_S


def test_no_secret_is_in_the_file() -> None:
    passwords = re.findall(r"PASSWORD\S*", (ROOT / "docker-compose.yml").read_text())
    assert passwords
    assert all(re.match(r"PASSWORD(:$|:\?|$)", one) for one in passwords), passwords
