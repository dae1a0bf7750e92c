"""`fleetpulse doctor` names what is wrong and the command that mends it, and changes nothing."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import time_machine
import typer.main
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from infra.database.connection.migrate import migrate
from infra.doctor.finding import Finding, Severity
from infra.kafka.client import Topics, create_topics
from infra.settings import Settings, as_environment
from stream.cli.operate.doctor import examine
from tests.databases import Databases
from tests.processes import command


@pytest.fixture
def sound(settings: Settings) -> Settings:
    """Return the settings of an installation with tables and topics."""
    asyncio.run(create_topics(settings.kafka))
    return settings


def found(settings: Settings, level: Severity = Severity.FAULT) -> dict[str, Finding]:
    """Return the findings of a level, by subject."""
    return {
        finding.subject: finding
        for finding in asyncio.run(examine(settings))
        if finding.level is level
    }


def run(settings: Settings, statement: str, values: list[Any] | None = None) -> None:
    with psycopg.connect(settings.conninfo, autocommit=True) as connection:
        connection.execute(statement, values)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_sound_installation_has_no_fault_and_each_finding_a_remedy(sound: Settings) -> None:
    findings = asyncio.run(examine(sound))
    assert [finding for finding in findings if finding.level is Severity.FAULT] == []
    subjects = {finding.subject for finding in findings}
    assert subjects >= {
        "broker", "topics", "progress", "database", "schema", "extension", "roles", "outbox",
        "dead letters", "clocks", "disk of the database", "disk of this machine",
        "TLS to the database", "TLS to the broker", "Grafana",
    }  # fmt: skip
    for finding in findings:
        assert bool(finding.remedy) == (finding.level is not Severity.OK), finding


def test_what_readers_are_told_of_others_is_named_with_what_closes_it(sound: Settings) -> None:
    def catalogue() -> list[Finding]:
        findings = asyncio.run(examine(sound))
        return [finding for finding in findings if finding.subject == "catalogue"]

    assert "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC" in {
        finding.remedy for finding in catalogue()
    }
    run(sound, "GRANT SELECT ON pg_locks TO PUBLIC")
    [opened] = [finding for finding in catalogue() if "pg_locks" in finding.text]
    assert "fleetpulse migrate" in opened.remedy
    migrate(sound.conninfo)
    assert not [finding for finding in catalogue() if "pg_locks" in finding.text]


def test_missing_topics_and_tables_are_mended_by_migrate(
    settings: Settings, databases: Databases
) -> None:
    faults = found(settings)
    assert faults["topics"].remedy == "fleetpulse migrate"
    with databases.empty() as url:
        bare = settings.model_copy(update={"database_url": SecretStr(url)})
        assert found(bare)["schema"].remedy == "fleetpulse migrate"
        migrate(url, "0019")
        assert "at revision 0019" in found(bare)["schema"].text


def test_who_does_not_answer_is_named_without_a_password(sound: Settings) -> None:
    port = closed_port()
    url = f"postgresql://somebody:hidden-word@127.0.0.1:{port}/fleet"
    nowhere = sound.model_copy(
        update={
            "database_url": SecretStr(url),
            "kafka": sound.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{port}"}),
            "grafana_url": f"http://127.0.0.1:{port}",
            "grafana_token": SecretStr("hidden-word"),
        }
    )
    faults = found(nowhere)
    assert faults.keys() == {"database", "broker", "Grafana"}
    for finding in faults.values():
        assert str(port) in finding.text
        assert "hidden-word" not in repr(finding)


def test_progress_that_kafka_does_not_hold_is_a_fault_with_the_offset_to_set(
    sound: Settings,
) -> None:
    topic = Topics.named(sound.kafka.topic_prefix).fixes
    run(
        sound,
        "INSERT INTO stream_progress (topic, partition, next_offset) VALUES (%s, 1, 17)",
        [topic],
    )
    finding = found(sound)["progress"]
    assert f"{topic}[1] is to continue at 17, Kafka holds 0 to 0" in finding.text
    assert finding.remedy == f"fleetpulse offsets set {topic} 1 0"


def test_what_waits_for_somebody_is_told(sound: Settings) -> None:
    run(
        sound,
        "INSERT INTO outbox (message_id, topic, key, payload, created_at) "
        "VALUES (%s, 't', 'k', %s, now() - INTERVAL '1 hour')",
        [uuid.uuid4(), Jsonb({})],
    )
    run(
        sound,
        "INSERT INTO dead_letter (dead_letter_id, reason, detail, topic, partition, "
        "record_offset, message_value) VALUES (%s, 'bad-fix', 'why', 't', 0, 1, '')",
        [uuid.uuid4()],
    )
    assert "the oldest for 3600 s" in found(sound)["outbox"].text
    assert found(sound, Severity.WARNING)["dead letters"].text == "1 are open"


def test_a_clock_that_is_off_is_told(sound: Settings) -> None:
    with time_machine.travel(datetime.now(UTC) - timedelta(seconds=90)):
        text = found(sound)["clocks"].text
    assert re.search(r"\+9\d\.\d s from this machine's", text), text


def test_a_network_in_between_wants_tls(sound: Settings) -> None:
    from infra.doctor.surroundings import look_at_protection  # noqa: PLC0415 - no server is asked

    remote = sound.model_copy(
        update={
            "database_url": SecretStr("postgresql://u:p@db.example/fleet"),
            "kafka": sound.kafka.model_copy(update={"bootstrap_servers": "kafka.example:9092"}),
        }
    )
    assert [finding.level for finding in look_at_protection(remote)] == [Severity.WARNING] * 2
    checked = remote.model_copy(update={"database_sslmode": "verify-full"})
    assert look_at_protection(checked)[0].level is Severity.OK


def test_the_command_prints_remedies_and_ends_with_1_on_a_fault(settings: Settings) -> None:
    environment = as_environment(settings)
    done = command("doctor", **environment)
    assert done.returncode == 1, done.stderr
    assert "mend it: fleetpulse migrate" in done.stdout
    asyncio.run(create_topics(settings.kafka))
    done = command("doctor", "--json", **environment)
    assert done.returncode == 0, done.stderr
    assert {finding["level"] for finding in json.loads(done.stdout)} == {"ok", "warning"}


def test_commands_that_remedies_name_exist() -> None:
    from pathlib import Path  # noqa: PLC0415 - of this test alone

    from stream.cli.main import app  # noqa: PLC0415 - the other tests need no command line

    root = typer.main.get_command(app)
    commands: dict[str, Any] = getattr(root, "commands")  # noqa: B009 - typer's own group class
    room = Path(__file__).parents[2] / "infra" / "doctor"
    text = "".join(path.read_text() for path in room.glob("*.py"))
    named = set(re.findall(r"fleetpulse ([a-z-]+)(?: ([a-z]+))?", text)) - {("doctor", "")}
    assert len(named) > 4
    for group, child in named:
        children = getattr(commands[group], "commands", None)
        assert children is None or child in children, (group, child)
