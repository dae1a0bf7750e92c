"""Provision a Grafana that is there already: our data source, folder and dashboards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from infra.settings import Settings
from schemas.errors import OutageError

UID: Final = "fleetpulse"
"""Of the data source and of the folder: dashboards in git name it."""

DATA_SOURCE_TYPE: Final = "grafana-postgresql-datasource"
DASHBOARDS: Final = Path(__file__).parent / "dashboards"

_NOT_FOUND: Final = 404
_CONFLICT: Final = 412
_TIMEOUT_S: Final = 20.0
_MAX_CONNECTIONS: Final = 5  # below a reader's limit in infra.database.access.readers


class ProvisionError(OutageError):
    """Grafana is not reachable as set up, refuses us, or cannot reach the database."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Where Grafana finds the database, and the reader that it logs in as."""

    host: str
    port: int
    database: str
    user: str
    password: SecretStr
    ssl_mode: str = "prefer"

    @classmethod
    def of(
        cls,
        settings: Settings,
        user: str,
        password: SecretStr,
        *,
        host: str | None = None,
        port: int | None = None,
    ) -> Self:
        """Return a reader of the database that our own settings name.

        `host` and `port` are given where Grafana reaches it under another address than we do.
        """
        known = conninfo_to_dict(settings.conninfo)
        return cls(
            host=host or str(known.get("host") or "127.0.0.1"),
            port=port or int(known.get("port") or 5432),
            database=str(known.get("dbname") or known.get("user")),
            user=user,
            password=password,
            ssl_mode=str(known.get("sslmode") or "prefer"),
        )

    def data_source(self) -> dict[str, Any]:
        """Return Grafana's data source; it has no mode that only prefers TLS."""
        return {
            "uid": UID,
            "name": UID,
            "type": DATA_SOURCE_TYPE,
            "access": "proxy",
            "url": f"{self.host}:{self.port}",
            "user": self.user,
            "jsonData": {
                "database": self.database,
                "sslmode": "disable" if self.ssl_mode in {"allow", "prefer"} else self.ssl_mode,
                "maxOpenConns": _MAX_CONNECTIONS,
                "timescaledb": False,  # dashboards run on plain PostgreSQL too
            },
            "secureJsonData": {"password": self.password.get_secret_value()},
        }


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What Grafana has now: the address of each dashboard, and what it said of the database."""

    dashboards: tuple[str, ...]
    health: str


def provision(settings: Settings, reader: Reader) -> Provisioned:
    """Create or update data source, folder and dashboards; may be repeated.

    Raises `ProvisionError` when address or token are not set, when Grafana refuses a call, and
    when its data source cannot reach the database as this reader.
    """
    api, shown = _api(settings)
    try:
        _put_data_source(api, reader.data_source())
        _put_folder(api)
        paths = [_put_dashboard(api, path) for path in sorted(DASHBOARDS.glob("*.json"))]
        health = api.datasource.health(UID)
    except GrafanaException as error:
        raise ProvisionError(f"{shown}: {error.message}") from error
    except OSError as error:  # every error of the network, those of the HTTP client included
        raise ProvisionError(f"{shown} does not answer: {error}") from error
    if health.get("status") != "OK":
        raise ProvisionError(
            f"Grafana cannot reach {reader.host}:{reader.port} as {reader.user}: "
            f"{health.get('message')}"
        )
    # Grafana tells paths from the root of its server, its own sub-path included.
    addresses = tuple(urljoin(shown, path) for path in paths)
    return Provisioned(addresses, str(health.get("message", "")))


def missing(settings: Settings) -> list[str]:
    """Return what Grafana lacks of what `provision` puts there: data source and dashboards.

    Raises `ProvisionError` as `provision` does.
    """
    api, shown = _api(settings)
    uids = [
        str(json.loads(path.read_text(encoding="utf-8"))["uid"])
        for path in sorted(DASHBOARDS.glob("*.json"))
    ]
    absent: list[str] = []
    try:
        for kind, uid, ask in (
            ("data source", UID, api.datasource.get_datasource_by_uid),
            *(("dashboard", uid, api.dashboard.get_dashboard) for uid in uids),
        ):
            try:
                ask(uid)
            except GrafanaClientError as error:
                if error.status_code != _NOT_FOUND:
                    raise
                absent.append(f"{kind} {uid}")
    except GrafanaException as error:
        raise ProvisionError(f"{shown}: {error.message}") from error
    except OSError as error:
        raise ProvisionError(f"{shown} does not answer: {error}") from error
    return absent


def _api(settings: Settings) -> tuple[Any, str]:
    """Return a client and the address without its user; the client's methods have no types."""
    url = settings.grafana_url
    given = None if url is None else urlsplit(url)
    if url is None or given is None or not (settings.grafana_token or given.username):
        raise ProvisionError(
            "no Grafana to provision; set FLEETPULSE_GRAFANA_URL, and FLEETPULSE_GRAFANA_TOKEN to "
            "a service account's token with the role Admin, or put user:password@ into the address"
        )
    if settings.grafana_token is not None:
        who: str | tuple[str, str] = settings.grafana_token.get_secret_value()
    else:
        who = (unquote(given.username or ""), unquote(given.password or ""))
    shown = urlunsplit(given._replace(netloc=given.netloc.rpartition("@")[2]))
    # The client needs the slash where there is a path.
    return GrafanaApi.from_url(shown.rstrip("/") + "/", who, timeout=_TIMEOUT_S), shown


def _put_data_source(api: Any, wanted: dict[str, Any]) -> None:
    try:
        api.datasource.get_datasource_by_uid(UID)
    except GrafanaClientError as error:
        if error.status_code != _NOT_FOUND:
            raise
        api.datasource.create_datasource(wanted)
    else:
        api.datasource.update_datasource_by_uid(UID, wanted)


def _put_folder(api: Any) -> None:
    try:
        api.folder.get_folder(UID)
    except GrafanaClientError as error:
        if error.status_code != _NOT_FOUND:
            raise
        try:
            api.folder.create_folder("fleetpulse", uid=UID)
        except GrafanaClientError as again:
            if again.status_code != _CONFLICT:  # another one has just created it
                raise


def _put_dashboard(api: Any, path: Path) -> str:
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    answer = api.dashboard.update_dashboard(
        {"dashboard": dashboard, "folderUid": UID, "overwrite": True}
    )
    return str(answer["url"])
