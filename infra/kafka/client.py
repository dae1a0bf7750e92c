"""Kafka from settings: client options, topic names, and creating the topics that we own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from infra.settings import KafkaSettings

_COPIES: Final = 2
_HELD_LIMIT_S: Final = 15.0
_HELD_FETCH_MS: Final = 50


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of our topics: what comes in, and what leaves through the outbox."""

    fixes: str
    trips: str
    round_trips: str
    plans: str
    alerts: str
    dead_letters: str

    @classmethod
    def named(cls, prefix: str) -> Self:
        """Return the topics of the installation that uses this prefix."""
        return cls(
            fixes=f"{prefix}.fixes",
            trips=f"{prefix}.trips",
            round_trips=f"{prefix}.round-trips",
            plans=f"{prefix}.plans",
            alerts=f"{prefix}.alerts",
            dead_letters=f"{prefix}.dead-letters",
        )

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic of ours."""
        names: tuple[str, ...] = astuple(self)
        return names


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context that the settings ask for, or None for a plain connection.

    Raises `OSError` when a certificate or key file cannot be read.
    """
    if not settings.security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(
        cafile=str(settings.ssl_cafile) if settings.ssl_cafile else None
    )
    if settings.ssl_certfile is not None:
        context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
    return context


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments that every aiokafka client of ours takes."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    context = ssl_context(settings)
    if context is not None:
        options["ssl_context"] = context
    if settings.security_protocol.startswith("SASL") and settings.sasl_password is not None:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password.get_secret_value()
    return options


def producer_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments of a producer whose messages are on all replicas when acked."""
    return {
        **client_options(settings),
        "acks": "all",
        "enable_idempotence": settings.idempotence,
    }


async def create_topics(settings: KafkaSettings) -> None:
    """Create our topics where they are missing; existing ones keep their settings.

    Raises `aiokafka.errors.KafkaError` when the broker refuses for another reason.
    """
    topics = Topics.named(settings.topic_prefix)
    # `acks=all` is as many as are in step: with three copies, two at least.
    in_step = {"min.insync.replicas": "2"} if settings.replication_factor > _COPIES else {}
    copies = settings.replication_factor
    wanted = [NewTopic(topics.fixes, settings.partitions, copies, topic_configs=in_step)] + [
        NewTopic(name, 1, copies, topic_configs=in_step)
        for name in (
            topics.trips,
            topics.round_trips,
            topics.plans,
            topics.alerts,
            topics.dead_letters,
        )
    ]
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in wanted if topic.name not in existing]
        if missing:
            response = await admin.create_topics(missing)
            for name, code, *message in response.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise for_code(code)(f"topic {name}: {message}")
    finally:
        await admin.close()


async def read_cluster_id(settings: KafkaSettings) -> str:
    """Return the id of the cluster that answers: another one after its disks were wiped.

    Raises `aiokafka.errors.KafkaError` when none does. It waits as long as the broker keeps it
    waiting: give it a limit.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


class Watermarks(NamedTuple):
    """What a broker holds of a partition: from `earliest` on, the next record will be `end`."""

    earliest: int
    end: int


async def read_watermarks(
    settings: KafkaSettings, partitions: Iterable[tuple[str, int]]
) -> Mapping[tuple[str, int], Watermarks]:
    """Ask the broker what it holds of (topic, partition) pairs.

    The end is the high watermark of a fetch, not the answer to "latest offset": the embedded
    broker tells the latter wrongly after a batch of several records. Raises
    `aiokafka.errors.KafkaError` when the broker refuses, and `TimeoutError` when it does not
    answer within 15 s.
    """
    consumer = AIOKafkaConsumer(
        group_id=None,
        enable_auto_commit=False,
        fetch_max_wait_ms=_HELD_FETCH_MS,
        max_partition_fetch_bytes=1,  # one batch: the least that a broker sends
        **client_options(settings),
    )
    wanted = [TopicPartition(topic, number) for topic, number in partitions]
    try:
        async with asyncio.timeout(_HELD_LIMIT_S):
            await consumer.start()
            consumer.assign(wanted)
            earliest = await consumer.beginning_offsets(wanted)
            for place in wanted:
                consumer.seek(place, earliest[place])
            while any(consumer.highwater(place) is None for place in wanted):
                await consumer.getmany(timeout_ms=_HELD_FETCH_MS)
            return {
                (place.topic, place.partition): Watermarks(
                    earliest[place], consumer.highwater(place)
                )
                for place in wanted
            }
    finally:
        await consumer.stop()
