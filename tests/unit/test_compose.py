"""The container files keep what they promise: no root, no capability, nothing writable, no loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.limits import SPECS

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()

each_service = pytest.mark.parametrize("name", SERVICES)
each_role = pytest.mark.parametrize("name", ["api", "worker", "scheduler", "sequencer"])


def test_the_services_are_the_roles() -> None:
    """The file starts the store and one service a role, nothing else."""
    assert set(SERVICES) == {"valkey", "api", "worker", "scheduler", "sequencer"}


@each_service
def test_a_service_can_do_nothing_it_need_not(name: str) -> None:
    """Every container is read-only, without capabilities or new privileges, and not root."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not str(service["user"]).startswith(("0:", "root"))
    assert all("noexec" in mount for mount in service["tmpfs"])


@each_service
def test_a_service_is_bounded_and_watched(name: str) -> None:
    """Every container has limits of memory and processes, a health check and time to end."""
    service = SERVICES[name]
    assert service["mem_limit"]
    assert 0 < service["pids_limit"] <= 512
    assert service["healthcheck"]["test"][0] == "CMD"
    assert "curl" not in service["healthcheck"]["test"]
    assert service["stop_grace_period"]
    assert service["restart"] == "unless-stopped"


@each_role
def test_a_role_waits_for_a_healthy_store(name: str) -> None:
    """Every role starts when Valkey answers, and runs as the user of the image."""
    service = SERVICES[name]
    assert service["depends_on"] == {"valkey": {"condition": "service_healthy"}}
    assert service["user"] == "10001:10001"
    assert service["command"] == [name]
    assert service["environment"]["MOONSAND_ENVIRONMENT"] == "production"


def test_the_store_loses_nothing() -> None:
    """Valkey appends to a file on a volume and never evicts."""
    command = SERVICES["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--stream-node-max-bytes"] == options["--hash-max-listpack-value"] == "256"
    assert SERVICES["valkey"]["volumes"] == ["valkey:/data"]


def test_the_store_is_reached_by_us_alone() -> None:
    """Valkey publishes no port, asks for a password, and its network leads nowhere."""
    store = SERVICES["valkey"]
    assert "ports" not in store
    assert store["networks"] == ["store"]
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert "--requirepass" in store["command"]


def test_only_workers_hold_credentials() -> None:
    """Accounts and the values they name are given to workers and to nobody else."""
    assert SERVICES["worker"]["env_file"] == ["worker.env"]
    for name in ("api", "valkey", "sequencer"):
        assert "env_file" not in SERVICES[name]
        assert "accounts" not in str(SERVICES[name])


def test_only_the_api_is_published_and_on_loopback() -> None:
    """TLS and the open network are the business of a proxy in front."""
    ports = {name: service.get("ports") for name, service in SERVICES.items()}
    assert ports.pop("api") == ["127.0.0.1:8420:8420"]
    assert set(ports.values()) == {None}


def test_only_the_sequencer_writes_and_signs_the_ledger() -> None:
    """The API reads the archive, no other role sees it, and the key is the sequencer's alone."""
    mounts = {name: service.get("volumes", []) for name, service in SERVICES.items()}
    assert "ledger:/var/lib/moonsand/ledger" in mounts["sequencer"]
    assert mounts["api"] == ["ledger:/var/lib/moonsand/ledger:ro"]
    for name in ("valkey", "worker"):
        assert "ledger" not in str(mounts[name])
    for name in ("valkey", "worker", "api"):
        assert "ledger.key" not in str(SERVICES[name])
        assert "LEDGER_KEY" not in str(SERVICES[name])


def test_a_worker_gets_time_for_the_longest_run() -> None:
    """Stopping a worker kills no run: it has the longest wall limit and some more."""
    grace_s = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > SPECS["wall_ms"].maximum / 1000


def test_no_secret_is_written_in_the_file() -> None:
    """Passwords come from the environment file, and a missing one stops the start."""
    text = (ROOT / "docker-compose.yml").read_text()
    assert text.count("${REDIS_PASSWORD:?") == 3
    assert "ms_live_" not in text


def test_the_image_is_for_an_ordinary_user() -> None:
    """The last stage runs as 10001, is built from the lock, and its default role is the API."""
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert "USER 10001:10001" in last
    assert "--locked" in DOCKERFILE
    assert 'CMD ["api"]' in last
    assert "curl" not in DOCKERFILE
