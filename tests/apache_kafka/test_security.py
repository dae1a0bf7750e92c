"""A broker behind TLS and a password, reached with nothing but the environment's settings."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from infra.kafka.client import Topics, client_options, create_topics, producer_options
from infra.settings import Settings
from tests.apache_kafka.broker import ApacheKafka, User, apache_kafka_available

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def secured() -> Iterator[tuple[ApacheKafka, User]]:
    """Yield a broker that asks for TLS and a password, and the user that it knows."""
    reason = apache_kafka_available()
    if reason is not None:
        if os.environ.get("FLEETPULSE_REQUIRE_APACHE_KAFKA") == "1":
            pytest.fail(f"{reason}; FLEETPULSE_REQUIRE_APACHE_KAFKA=1 asks for Apache Kafka")
        pytest.skip(reason)
    user = User()
    with ApacheKafka(user) as broker:
        yield broker, user


@pytest.fixture
def environment(secured: tuple[ApacheKafka, User], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables of a client that may enter."""
    broker, user = secured
    for name in os.environ:
        if name.upper().startswith("FLEETPULSE_KAFKA_"):
            monkeypatch.delenv(name)
    for name, value in {
        "BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "SCRAM-SHA-512",
        "SASL_USERNAME": user.name,
        "SASL_PASSWORD": user.password,
        "SSL_CAFILE": str(broker.authority),
        "TOPIC_PREFIX": f"test-{uuid.uuid4().hex[:12]}",
        "PARTITIONS": "2",
    }.items():
        monkeypatch.setenv(f"FLEETPULSE_KAFKA_{name}", value)


async def list_topics(settings: Settings) -> set[str]:
    """Return the names of the broker's topics."""
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    try:
        await admin.start()
        return set(await admin.list_topics())
    finally:
        await admin.close()
        # aiokafka does not wait for a refused connection to close; the event loop must.
        await asyncio.sleep(0.5)


@pytest.mark.usefixtures("environment")
def test_topics_are_created_written_and_read() -> None:
    async def scenario() -> None:
        settings = Settings()
        topics = Topics.named(settings.kafka.topic_prefix)
        await create_topics(settings.kafka)
        assert {topics.fixes, topics.dead_letters} <= await list_topics(settings)
        options = client_options(settings.kafka)
        async with AIOKafkaProducer(**producer_options(settings.kafka)) as producer:
            await producer.send_and_wait(topics.fixes, b"a fix", partition=1)
        async with AIOKafkaConsumer(
            topics.fixes, **options, auto_offset_reset="earliest"
        ) as consumer:
            message = await asyncio.wait_for(consumer.getone(), 20)
        assert (message.partition, message.value) == (1, b"a fix")

    asyncio.run(scenario())


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("variable", ["SASL_PASSWORD", "SASL_USERNAME"])
def test_wrong_credentials_are_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(f"FLEETPULSE_KAFKA_{variable}", "wrong")
    with pytest.raises(KafkaConnectionError):
        asyncio.run(list_topics(Settings()))


@pytest.mark.usefixtures("environment")
def test_a_password_is_not_sent_to_a_broker_that_no_known_authority_vouches_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FLEETPULSE_KAFKA_SSL_CAFILE")
    with pytest.raises(KafkaConnectionError):
        asyncio.run(list_topics(Settings()))


@pytest.mark.usefixtures("environment")
def test_a_missing_authority_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLEETPULSE_KAFKA_SSL_CAFILE", str(tmp_path / "absent.pem"))
    with pytest.raises(FileNotFoundError):
        client_options(Settings().kafka)


@pytest.mark.usefixtures("environment")
def test_a_certificate_for_another_host_is_refused(
    secured: tuple[ApacheKafka, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = secured[0].bootstrap_servers.rpartition(":")[2]
    # The certificate names 127.0.0.1; this is the same machine under a name that it does not.
    monkeypatch.setenv("FLEETPULSE_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.2:{port}")
    with pytest.raises(KafkaConnectionError):
        asyncio.run(list_topics(Settings()))


@pytest.mark.usefixtures("environment")
def test_a_plain_connection_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETPULSE_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    with pytest.raises(KafkaConnectionError):
        asyncio.run(list_topics(Settings()))
