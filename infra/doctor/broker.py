"""The broker: reachable, with our topics, and holding what was not processed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from infra.database.stream.progress import Partition
from infra.doctor.finding import Finding, fault, ok, warning
from infra.kafka.client import Topics, client_options, read_watermarks
from infra.settings import KafkaSettings

_LIMIT_S: Final = 10.0
_LAG_RECORDS: Final = 10_000
"""A worker writes as many messages in a few minutes at the most."""


async def look_at_broker(
    settings: KafkaSettings, progress: Mapping[Partition, int] | None
) -> list[Finding]:
    """Return findings about the broker; `progress` is None where the database is away."""
    try:
        partitions = await asyncio.wait_for(_partitions(settings), _LIMIT_S)
    except (KafkaError, OSError, TimeoutError) as away:
        return [
            fault(
                "broker",
                f"{settings.bootstrap_servers} does not answer: {away!r}",
                "start it, or set FLEETPULSE_KAFKA_BOOTSTRAP_SERVERS",
            )
        ]
    findings = [ok("broker", f"{settings.bootstrap_servers} answers")]
    topics = Topics.named(settings.topic_prefix)
    missing = [name for name in topics.all if name not in partitions]
    if missing:
        findings.append(fault("topics", f"missing: {', '.join(missing)}", "fleetpulse migrate"))
        return findings
    findings += [_fixes(settings, topics.fixes, partitions[topics.fixes])]
    findings += await _progress(settings, topics.fixes, partitions[topics.fixes], progress)
    return findings


async def _partitions(settings: KafkaSettings) -> dict[str, list[int]]:
    """Return the number of copies of each partition, by topic."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        topics = await admin.describe_topics()
    finally:
        await admin.close()
    return {
        topic["topic"]: [len(partition["replicas"]) for partition in topic["partitions"]]
        for topic in topics
    }


def _fixes(settings: KafkaSettings, topic: str, copies: list[int]) -> Finding:
    text = f"{topic} has {len(copies)} partitions with {min(copies)} copies"
    if len(copies) < settings.partitions:
        return warning(
            "topics",
            f"{text}, FLEETPULSE_KAFKA_PARTITIONS asks for {settings.partitions}",
            f"kafka-topics.sh --alter --topic {topic} --partitions {settings.partitions} (with "
            "ingest and workers stopped and no lag left: vehicles change partitions)",
        )
    if min(copies) == 1:
        return warning(
            "topics",
            f"{text}: a lost disk loses what was accepted and not yet written",
            "run three brokers, set FLEETPULSE_KAFKA_REPLICATION_FACTOR=3 before the first migrate",
        )
    return ok("topics", text)


async def _progress(
    settings: KafkaSettings,
    topic: str,
    copies: list[int],
    progress: Mapping[Partition, int] | None,
) -> list[Finding]:
    if progress is None:
        return []
    places = [Partition(topic, number) for number in range(len(copies))]
    try:
        watermarks = await read_watermarks(settings, places)
    except (KafkaError, OSError, TimeoutError) as away:
        return [fault("progress", f"the broker does not tell its offsets: {away!r}", "see its log")]
    findings = []
    lag = 0
    for place in places:
        earliest, end = watermarks[place]
        at = progress.get(place, earliest)
        if not earliest <= at <= end:
            findings.append(
                fault(
                    "progress",
                    f"{topic}[{place.partition}] is to continue at {at}, Kafka holds {earliest} to "
                    f"{end}: records are lost, or it is another topic of this name",
                    f"fleetpulse offsets set {topic} {place.partition} {earliest}",
                )
            )
        lag += max(0, end - at)
    if findings:
        return findings
    if lag > _LAG_RECORDS:
        return [
            warning(
                "progress",
                f"{lag:,} messages wait to be processed, more than {_LAG_RECORDS:,}",
                "look at /readyz of the workers; start more, as many as there are partitions",
            )
        ]
    return [ok("progress", f"{lag:,} messages wait to be processed")]
