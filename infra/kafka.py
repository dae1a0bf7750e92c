"""Kafka from settings: client options, topic names, and creating the topics that we own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from infra.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of our topics: what comes in, and what leaves through the outbox."""

    fixes: str
    trips: str
    round_trips: str
    plans: str
    dead_letters: str

    @classmethod
    def named(cls, prefix: str) -> Self:
        """Return the topics of the installation that uses this prefix."""
        return cls(
            fixes=f"{prefix}.fixes",
            trips=f"{prefix}.trips",
            round_trips=f"{prefix}.round-trips",
            plans=f"{prefix}.plans",
            dead_letters=f"{prefix}.dead-letters",
        )


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


async def create_topics(settings: KafkaSettings) -> None:
    """Create our topics where they are missing; existing ones keep their settings.

    Raises `aiokafka.errors.KafkaError` when the broker refuses for another reason.
    """
    topics = Topics.named(settings.topic_prefix)
    wanted = [NewTopic(topics.fixes, settings.partitions, settings.replication_factor)] + [
        NewTopic(name, 1, settings.replication_factor)
        for name in (topics.trips, topics.round_trips, topics.plans, topics.dead_letters)
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
