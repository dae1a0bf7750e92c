"""What the gateway tells Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Histogram

EVENTS: Final = Counter(
    "fleetpulse_ingest_events_total",
    "Events of requests that were looked into, by vendor; outcome is accepted or rejected",
    ["vendor", "outcome"],
)
REFUSED: Final = Counter(
    "fleetpulse_ingest_requests_refused_total",
    "Requests of which nothing was taken; key is the prefix of a valid one, else unknown",
    ["key", "reason"],
)
REQUEST_SECONDS: Final = Histogram(
    "fleetpulse_ingest_request_seconds", "From the head of a request to its answer"
)
RECEIVED_BYTES: Final = Counter(
    "fleetpulse_ingest_received_bytes_total", "Bodies of requests with a valid key, as they came"
)
NEW_VEHICLES: Final = Counter(
    "fleetpulse_ingest_new_vehicles_total",
    "Ids that no municipality has entered and no worker has seen; outcome is accepted or rejected",
    ["vendor", "outcome"],
)
CONNECTIONS_CLOSED: Final = Counter(
    "fleetpulse_ingest_connections_closed_total", "Connections that the gateway ended", ["reason"]
)
MESSAGES: Final = Counter("fleetpulse_ingest_messages_total", "Messages that Kafka acknowledged")
ACK_SECONDS: Final = Histogram("fleetpulse_ingest_ack_seconds", "Time until Kafka had a message")
