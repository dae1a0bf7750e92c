"""Settings of Kafka: read from the environment, refused with a remedy, silent about secrets."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr, ValidationError

from infra.settings import KafkaSettings, PlannerSettings, Settings, as_environment
from schemas.fleet.policy import PlacementPolicy

PREFIX = "FLEETPULSE_KAFKA_"
SECRET = "correct horse battery staple"  # noqa: S105 - known to no server


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of whoever runs the tests."""
    for name in os.environ:
        if name.upper().startswith("FLEETPULSE_"):
            monkeypatch.delenv(name)


def set_kafka(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Set `FLEETPULSE_KAFKA_…`."""
    for name, value in values.items():
        monkeypatch.setenv(PREFIX + name, value)


def test_an_empty_environment_means_a_plain_broker_on_this_machine() -> None:
    kafka = Settings().kafka
    assert kafka.bootstrap_servers == "127.0.0.1:9092"
    assert kafka.security_protocol == "PLAINTEXT"
    assert kafka.sasl_username is None
    assert kafka.sasl_password is None
    assert kafka.ssl_cafile is None


def test_every_kafka_setting_comes_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    set_kafka(
        monkeypatch,
        BOOTSTRAP_SERVERS="kafka-1.example.dk:9093,kafka-2.example.dk:9093",
        SECURITY_PROTOCOL="SASL_SSL",
        SASL_MECHANISM="SCRAM-SHA-256",
        SASL_USERNAME="roads",
        SASL_PASSWORD=SECRET,
        SSL_CAFILE="/etc/kafka/authority.pem",
        SSL_CERTFILE="/etc/kafka/client.pem",
        SSL_KEYFILE="/etc/kafka/client.key",
        TOPIC_PREFIX="city-7.fleet",
        PARTITIONS="12",
        REPLICATION_FACTOR="3",
        IDEMPOTENCE="false",
        SESSION_TIMEOUT_S="9.5",
        REBALANCE_TIMEOUT_S="30",
        FETCH_MAX_WAIT_MS="100",
    )
    document = Settings().kafka.model_dump()
    password = document.pop("sasl_password")
    assert password.get_secret_value() == SECRET
    assert document == {
        "bootstrap_servers": "kafka-1.example.dk:9093,kafka-2.example.dk:9093",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_username": "roads",
        "ssl_cafile": Path("/etc/kafka/authority.pem"),
        "ssl_certfile": Path("/etc/kafka/client.pem"),
        "ssl_keyfile": Path("/etc/kafka/client.key"),
        "topic_prefix": "city-7.fleet",
        "partitions": 12,
        "replication_factor": 3,
        "idempotence": False,
        "session_timeout_s": 9.5,
        "rebalance_timeout_s": 30.0,
        "fetch_max_wait_ms": 100,
    }


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
@pytest.mark.parametrize("given", [{}, {"SASL_USERNAME": "roads"}, {"SASL_PASSWORD": SECRET}])
def test_sasl_without_a_user_is_refused_with_the_variables_to_set(
    monkeypatch: pytest.MonkeyPatch, protocol: str, given: dict[str, str]
) -> None:
    set_kafka(monkeypatch, SECURITY_PROTOCOL=protocol, **given)
    with pytest.raises(ValidationError) as caught:
        Settings()
    [fault] = caught.value.errors()
    assert f"FLEETPULSE_KAFKA_SECURITY_PROTOCOL={protocol} needs a user" in fault["msg"]
    assert "set FLEETPULSE_KAFKA_SASL_USERNAME and FLEETPULSE_KAFKA_SASL_PASSWORD" in fault["msg"]
    assert SECRET not in fault["msg"]


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("SECURITY_PROTOCOL", "TLS", "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("SASL_MECHANISM", "GSSAPI", "'PLAIN', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'"),
        ("TOPIC_PREFIX", "Fleet Pulse", "^[a-z0-9][a-z0-9.-]*$"),
        ("PARTITIONS", "0", "greater than or equal to 1"),
        ("PARTITIONS", "many", "valid integer"),
        ("REPLICATION_FACTOR", "0", "greater than or equal to 1"),
        ("SESSION_TIMEOUT_S", "5.9", "greater than or equal to 6"),
        ("REBALANCE_TIMEOUT_S", "0", "greater than 0"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_setting_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, remedy: str
) -> None:
    set_kafka(monkeypatch, **{variable: value})
    with pytest.raises(ValidationError, match=re.escape(remedy)) as caught:
        Settings()
    [fault] = caught.value.errors()
    # What the command line makes the variable's name of.
    assert caught.value.title == KafkaSettings.__name__
    assert fault["loc"] == (variable.lower(),)


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("PLANNER_SEED", "-1", "greater than or equal to 0"),
        ("PLANNER_SEED", "2147483648", "less than or equal to 2147483647"),
        ("PLANNER_HORIZON_DAYS", "731", "less than or equal to 730"),
        ("PLANNER_HORIZON_DAYS", "6", "greater than or equal to 7"),
        ("PLANNER_TIME_LIMIT_S", "inf", "finite number"),
        ("PLANNER_COOLDOWN_S", "nan", "finite number"),
        ("TRAVEL_TIMEOUT_S", "inf", "finite number"),
        ("KAFKA_SESSION_TIMEOUT_S", "inf", "finite number"),
        ("HOUSEKEEPING_INTERVAL_S", "inf", "finite number"),
    ],
)
def test_numbers_that_no_planner_could_work_with_are_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(f"FLEETPULSE_{variable}", value)
    with pytest.raises(ValidationError, match=re.escape(remedy)):
        Settings()


def test_a_plan_reads_the_twelve_weeks_that_are_back_tested_as_eight_and_four() -> None:
    assert Settings().planner.horizon_days == 12 * 7


def test_secrets_are_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    set_kafka(
        monkeypatch, SECURITY_PROTOCOL="SASL_SSL", SASL_USERNAME="roads", SASL_PASSWORD=SECRET
    )
    monkeypatch.setenv("FLEETPULSE_DATABASE_URL", f"postgresql://fleetpulse:{SECRET}@db/fleet")
    monkeypatch.setenv("FLEETPULSE_GRAFANA_TOKEN", SECRET)
    settings = Settings()
    for shown in (repr(settings), str(settings), repr(settings.kafka), settings.model_dump_json()):
        assert SECRET not in shown
        assert "**********" in shown


def test_settings_cannot_change_after_they_are_read() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.kafka.partitions = 9  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.ingest_port = 1  # type: ignore[misc]


def test_another_process_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    set_kafka(monkeypatch, IDEMPOTENCE="false", SSL_CAFILE="/etc/kafka/authority.pem")
    monkeypatch.setenv("FLEETPULSE_DATABASE_URL", f"postgresql://fleetpulse:{SECRET}@db/fleetpulse")
    monkeypatch.setenv("FLEETPULSE_PLANNER_SCHEDULE", "0 4 * * 1")
    settings = Settings(ingest_port=0, log_json=True)
    for name in [name for name in os.environ if name.startswith("FLEETPULSE_")]:
        monkeypatch.delenv(name)
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_lending_of_the_planner_has_the_limit_of_a_municipality_s_own() -> None:
    assert PlannerSettings(lending_within_min=240).policy.lending_within_min == 240
    with pytest.raises(ValidationError, match="less than or equal to 240"):
        PlannerSettings(lending_within_min=241)
    with pytest.raises(ValidationError, match="lending_within_min 241 is not from 0 to 240"):
        PlacementPolicy(lending_within_min=241)


def test_tls_to_the_database_is_a_setting_and_the_url_has_the_last_word() -> None:
    url = SecretStr("postgresql://u:p@db.example:5433/fleet")
    assert conninfo_to_dict(Settings(database_url=url).conninfo)["sslmode"] == "prefer"
    strict = Settings(
        database_url=url, database_sslmode="verify-full", database_sslrootcert=Path("/ca.pem")
    )
    assert conninfo_to_dict(strict.conninfo) == {
        "user": "u",
        "password": "p",
        "host": "db.example",
        "port": "5433",
        "dbname": "fleet",
        "sslmode": "verify-full",
        "sslrootcert": "/ca.pem",
    }
    own = Settings(
        database_url=SecretStr(f"{url.get_secret_value()}?sslmode=disable"),
        database_sslmode="verify-full",
    )
    assert conninfo_to_dict(own.conninfo)["sslmode"] == "disable"
