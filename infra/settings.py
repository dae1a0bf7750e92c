"""Settings: one frozen model, read once at the edge from `FLEETPULSE_…` and passed down."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.fleet.policy import MAX_LENDING_MIN, Fetching, PlacementPolicy

_UNLESS: Final = "Unless the municipality's own `planning` says otherwise"


class KafkaSettings(BaseSettings):
    """How to reach Kafka: `FLEETPULSE_KAFKA_…`, TLS and SASL included."""

    model_config = SettingsConfigDict(
        env_prefix="FLEETPULSE_KAFKA_", frozen=True, allow_inf_nan=False
    )

    bootstrap_servers: str = Field(
        default="127.0.0.1:9092", description="Comma-separated host:port pairs"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = Field(default=None, description="PEM of the broker's authority")
    ssl_certfile: Path | None = Field(default=None, description="PEM of our client certificate")
    ssl_keyfile: Path | None = Field(default=None, description="PEM of our client key")
    topic_prefix: str = Field(default="fleetpulse", pattern=r"^[a-z0-9][a-z0-9.-]*$")
    partitions: int = Field(default=4, ge=1, description="Of the fix topic, when we create it")
    replication_factor: int = Field(default=1, ge=1, description="Of the topics that we create")
    idempotence: bool = Field(
        default=True,
        description="Producers number what they send, so that a retry is written once. Off for "
        "brokers that cannot, such as the embedded one: then a retry may be written twice, which "
        "the worker recognises",
    )
    session_timeout_s: float = Field(
        default=45.0, ge=6.0, description="Silence that costs a worker its partitions"
    )
    rebalance_timeout_s: float = Field(default=60.0, gt=0)
    fetch_max_wait_ms: int = Field(
        default=500,
        ge=1,
        description="Longest that a broker holds back an answer while there is nothing new. Kafka "
        "answers as soon as there is; the embedded broker looks only every half of this time",
    )

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and self.sasl_password
        ):
            raise ValueError(
                f"FLEETPULSE_KAFKA_SECURITY_PROTOCOL={self.security_protocol} needs a user: set "
                "FLEETPULSE_KAFKA_SASL_USERNAME and FLEETPULSE_KAFKA_SASL_PASSWORD"
            )
        return self


class PlannerSettings(BaseSettings):
    """When the planner plans: `FLEETPULSE_PLANNER_…`."""

    model_config = SettingsConfigDict(
        env_prefix="FLEETPULSE_PLANNER_", frozen=True, allow_inf_nan=False
    )

    schedule: str = Field(default="0 3 * * *", description="Cron expression, Danish local time")
    drift_threshold: float = Field(
        default=0.2, gt=0, description="Share of demand that has moved since the last plan"
    )
    fleet_threshold: float = Field(
        default=0.05, gt=0, description="Share of vehicles, or of places, changed since the plan"
    )
    alert_threshold: int = Field(
        default=5, ge=1, description="Vehicles underused and depots short, newly since the plan"
    )
    min_round_trips: int = Field(default=50, ge=1, description="Fewer tell nothing about demand")
    cooldown_s: float = Field(
        default=3600.0,
        ge=0,
        description="Rest of a municipality after any plan, from all but requests",
    )
    request_cooldown_s: float = Field(
        default=5.0,
        ge=0,
        description="Rest between two plans on request; who asks meanwhile gets the next one",
    )
    leader_timeout_s: float = Field(
        default=120.0,
        ge=5,
        le=86_400,
        description="Silence that costs a planner its lead; it says something every second",
    )
    horizon_days: int = Field(
        default=84,
        ge=7,
        le=730,
        description="Days of demand that a plan reads; of 12 weeks it is back-tested on 4",
    )
    time_limit_s: float = Field(default=30.0, gt=0)
    seed: int = Field(default=1, ge=0, le=2**31 - 1, description="The solver takes 31 bits")
    follow_up_every_s: float = Field(
        default=3600.0, gt=0, description="How often outcomes of accepted plans are calculated"
    )
    follow_up_weeks: int = Field(
        default=4, ge=1, description="So many weeks are calculated again, for fixes that come late"
    )
    served_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of each class's round trips that a plan must serve; none: what pays. "
        f"{_UNLESS}",
    )
    lending_within_min: float = Field(
        default=0.0,
        ge=0,
        le=MAX_LENDING_MIN,
        description=f"Depots this near lend each other vehicles; 0: none do. {_UNLESS}",
    )
    fetching: Fetching = Field(
        default=Fetching.ON_FOOT,
        description=f"How who borrows gets to the neighbouring depot. {_UNLESS}",
    )
    forecast: bool = Field(
        default=False,
        description="Forecast each depot's demand where that beats last week; no gain was "
        f"measured. {_UNLESS}",
    )

    @property
    def policy(self) -> PlacementPolicy:
        """What plans are made for beyond the least cost, where a municipality does not say."""
        return PlacementPolicy(
            served_share=self.served_share,
            lending_within_min=self.lending_within_min,
            fetching=self.fetching,
            forecast=self.forecast,
        )


class TravelSettings(BaseSettings):
    """Who tells distances and times on the road: `FLEETPULSE_TRAVEL_…`."""

    model_config = SettingsConfigDict(
        env_prefix="FLEETPULSE_TRAVEL_", frozen=True, allow_inf_nan=False
    )

    service: Literal["geodesic", "valhalla", "osrm"] = Field(
        default="geodesic", description="Geodesic: as the crow flies, with a road factor"
    )
    url: str | None = Field(
        default=None, pattern=r"^https?://", description="Of the service, such as a server of ours"
    )
    timeout_s: float = Field(default=30.0, gt=0, description="For one request")
    places_per_request: int = Field(
        default=50,
        ge=1,
        description="Sources, and as many targets: Valhalla takes 2,500 pairs at once, OSRM 100 "
        "places, unless told otherwise",
    )

    @model_validator(mode="after")
    def _service_has_an_address(self) -> Self:
        if self.service != "geodesic" and self.url is None:
            raise ValueError(
                f"FLEETPULSE_TRAVEL_SERVICE={self.service} needs an address: set "
                "FLEETPULSE_TRAVEL_URL"
            )
        return self


class Settings(BaseSettings):
    """Everything a process of ours needs to know about its surroundings."""

    model_config = SettingsConfigDict(env_prefix="FLEETPULSE_", frozen=True, allow_inf_nan=False)

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://fleetpulse@127.0.0.1:5432/fleetpulse"),
        description="postgresql://user:password@host:port/database; sslmode and the like as query",
    )
    database_sslmode: Literal[
        "disable", "allow", "prefer", "require", "verify-ca", "verify-full"
    ] = Field(
        default="prefer",
        description="TLS to the database, where the URL does not say: `prefer` takes what the "
        "server offers and checks nobody's name; over a network that is not yours, verify-full",
    )
    database_sslrootcert: Path | None = Field(
        default=None, description="PEM of the authority that verify-ca and verify-full trust"
    )
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    planner: PlannerSettings = Field(default_factory=PlannerSettings)
    travel: TravelSettings = Field(default_factory=TravelSettings)
    ingest_host: str = "127.0.0.1"
    ingest_port: int = Field(default=8000, ge=0, le=65535)
    ingest_max_connections: int = Field(
        default=2_000,
        ge=1,
        description="Of vendors at once; beyond it the one that is idle for longest is closed",
    )
    max_request_bytes: int = Field(
        default=8_000_000, ge=1_000, description="Of a body, as it comes and unpacked"
    )
    max_events_per_s: float = Field(
        default=20_000.0,
        gt=0,
        description="Of one key at one ingest process; a minute's worth may come at once",
    )
    max_new_vehicles_per_day: int = Field(
        default=1_000,
        ge=0,
        description="That one key may bring to one ingest process in a day (UTC): of ids that no "
        "municipality has entered and no worker has seen",
    )
    linger_ms: float = Field(
        default=5.0, ge=0, description="How long the gateway gathers fixes into one message"
    )
    worker_batch_messages: int = Field(default=200, ge=1)
    worker_batch_wait_ms: float = Field(default=50.0, gt=0)
    housekeeping_interval_s: float = Field(
        default=300.0, gt=0, description="How often workers look for silent vehicles and alerts"
    )
    admin_host: str = "127.0.0.1"
    admin_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Serve /metrics and /readyz of ingest, worker or planner, for operators; of "
        "ingest also /docs and /openapi.json",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = Field(default=False, description="Log JSON lines, for a log collector")
    grafana_url: str | None = None
    grafana_token: SecretStr | None = None

    @property
    def conninfo(self) -> str:
        """How to connect to the database: the URL, and TLS where the URL does not say.

        It holds the password: never log it. Raises `psycopg.ProgrammingError` for a URL that is
        none.
        """
        url = self.database_url.get_secret_value()
        given = conninfo_to_dict(url)
        tls: dict[str, str] = {}
        if "sslmode" not in given:
            tls["sslmode"] = self.database_sslmode
        if "sslrootcert" not in given and self.database_sslrootcert is not None:
            tls["sslrootcert"] = str(self.database_sslrootcert)
        return make_conninfo(url, **tls)


def as_environment(settings: BaseSettings) -> dict[str, str]:
    """Return the variables from which another process reads these settings."""
    prefix = settings.model_config.get("env_prefix", "")
    variables: dict[str, str] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseSettings):
            variables |= as_environment(value)
        elif isinstance(value, SecretStr):
            variables[f"{prefix}{name.upper()}"] = value.get_secret_value()
        elif value is not None:
            variables[f"{prefix}{name.upper()}"] = str(value)
    return variables
