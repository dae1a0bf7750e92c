"""Provisioning a Grafana: our calls, recorded, and a real one where `TEST_GRAFANA_URL` names it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from infra.database.access.readers import grant_reader
from infra.database.connection.pool import make_pool
from infra.grafana.provision import DASHBOARDS, UID, ProvisionError, Reader, provision
from infra.settings import Settings
from tests.sample_fleet import role

READER = Reader("db.example", 5432, "fleetpulse", "grafana", SecretStr("s3cret"), "verify-full")


@dataclass
class Recorder:
    """Answers as Grafana's HTTP API is documented to, keeps what it is given, and records it."""

    url: str = ""
    calls: list[tuple[str, str, dict[str, Any] | None]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    health: dict[str, str] = field(default_factory=lambda: {"status": "OK", "message": "fine"})

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        """Return status and body."""
        self.calls.append((method, path, body))
        match method, path.removeprefix("/grafana/api"):
            case "POST", ("/datasources" | "/folders") as collection:
                assert body is not None
                self.kept.add(f"{collection}/{body['uid']}")
                return 200, {}
            case "GET", "/datasources/uid/fleetpulse/health":
                return 200 if self.health["status"] == "OK" else 400, self.health
            case (("GET" | "PUT"), one):
                values = one.replace("/uid/", "/") in self.kept
                return (200, {}) if values else (404, {"message": "not found"})
            case "POST", "/dashboards/db":
                assert body is not None
                return 200, {"url": f"/d/{body['dashboard']['uid']}"}
        return 500, {"message": f"unexpected {method} {path}"}


@pytest.fixture
def grafana() -> Iterator[Recorder]:
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            recorder.tokens.add(self.headers["Authorization"])
            status, answer = recorder.answer(self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 - names of the base class

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        recorder.url = f"http://127.0.0.1:{server.server_port}/grafana"
        yield recorder
        server.shutdown()
        thread.join()


def settings_for(url: str, token: str) -> Settings:
    return Settings(grafana_url=url, grafana_token=SecretStr(token) if token else None)


def test_our_calls_create_first_and_update_when_repeated(grafana: Recorder) -> None:
    settings = settings_for(grafana.url, "abc")
    done = provision(settings, READER)
    names = sorted(path.name for path in DASHBOARDS.glob("*.json"))
    assert len(done.dashboards) == len(names) >= 1
    first = [(method, path.removeprefix("/grafana/api")) for method, path, _ in grafana.calls]
    # The data source comes first: dashboards without it show errors.
    assert [call for call in first if call[0] != "GET"] == [
        ("POST", "/datasources"),
        ("POST", "/folders"),
        *[("POST", "/dashboards/db")] * len(names),
    ]
    grafana.calls.clear()
    assert provision(settings, READER) == done
    again = [(method, path.removeprefix("/grafana/api")) for method, path, _ in grafana.calls]
    assert [call for call in again if call[0] != "GET"] == [
        ("PUT", "/datasources/uid/fleetpulse"),
        *[("POST", "/dashboards/db")] * len(names),
    ]
    assert grafana.tokens == {"Bearer abc"}


def test_a_user_in_the_address_is_enough_and_is_shown_nowhere(grafana: Recorder) -> None:
    url = grafana.url.replace("://", "://admin:p%40ss@")
    done = provision(settings_for(url, ""), READER)
    assert grafana.tokens == {"Basic " + base64.b64encode(b"admin:p@ss").decode()}
    server = grafana.url.removesuffix("/grafana")
    assert all(dashboard.startswith(f"{server}/d/") for dashboard in done.dashboards)
    grafana.health = {"status": "ERROR", "message": "no"}
    with pytest.raises(ProvisionError) as caught:
        provision(settings_for(url, ""), READER)
    assert "p%40ss" not in str(caught.value)


def test_the_password_travels_only_where_grafana_keeps_it_secret(grafana: Recorder) -> None:
    provision(settings_for(grafana.url, "abc"), READER)
    [source] = [body for _, path, body in grafana.calls if path.endswith("/datasources") and body]
    assert source.pop("secureJsonData") == {"password": "s3cret"}
    assert source["jsonData"]["sslmode"] == "verify-full"
    assert source["url"] == "db.example:5432"
    assert "s3cret" not in json.dumps(source)
    for _, path, body in grafana.calls:
        if path.endswith("/dashboards/db"):
            assert body is not None
            assert body["overwrite"] is True
            assert body["folderUid"] == UID
            assert "s3cret" not in json.dumps(body)


def test_a_database_that_grafana_cannot_reach_is_an_error(grafana: Recorder) -> None:
    grafana.health = {"status": "ERROR", "message": "password authentication failed"}
    with pytest.raises(ProvisionError, match="password authentication failed"):
        provision(settings_for(grafana.url, "abc"), READER)


def test_a_grafana_that_is_not_set_or_not_there_is_an_error() -> None:
    with pytest.raises(ProvisionError, match="FLEETPULSE_GRAFANA_URL"):
        provision(Settings(), READER)
    with pytest.raises(ProvisionError, match="does not answer"):
        provision(settings_for("http://127.0.0.1:9", "abc"), READER)


def test_the_files_that_grafana_reads_itself_say_the_same() -> None:
    folder = DASHBOARDS.parent / "provisioning"
    content = yaml.safe_load((folder / "datasources" / "fleetpulse.yaml").read_text())
    [from_file] = content["datasources"]
    assert from_file.pop("editable") is False
    ours = READER.data_source()
    assert from_file.keys() == ours.keys()
    assert from_file["jsonData"].keys() == ours["jsonData"].keys()
    for key in ("uid", "name", "type", "access"):
        assert from_file[key] == ours[key]
    providers = yaml.safe_load((folder / "dashboards" / "fleetpulse.yaml").read_text())
    [provider] = providers["providers"]
    assert provider["folderUid"] == UID
    assert Path(provider["options"]["path"]).is_absolute()


def test_a_reader_of_our_own_database_comes_from_the_settings() -> None:
    settings = Settings(
        database_url=SecretStr("postgresql://me:mine@db:6543/fleet?sslmode=require")
    )
    reader = Reader.of(settings, "grafana", SecretStr("s3cret"))
    assert reader == Reader("db", 6543, "fleet", "grafana", SecretStr("s3cret"), "require")


def test_a_real_grafana_is_provisioned_twice_and_reads(database_url: str) -> None:
    url, token = os.environ.get("TEST_GRAFANA_URL"), os.environ.get("TEST_GRAFANA_TOKEN")
    if not url:
        pytest.skip(
            "no real Grafana: set TEST_GRAFANA_URL, with user:password@ or TEST_GRAFANA_TOKEN"
        )
    password = SecretStr("only for the tests")
    with psycopg.connect(database_url, autocommit=True) as owner, role(owner) as name:
        owner.execute("INSERT INTO municipality (municipality_id, name) VALUES ('a', 'A')")

        async def grant() -> None:
            settings = Settings(database_url=SecretStr(make_conninfo(database_url)))
            async with make_pool(settings, max_size=1) as pool:
                await grant_reader(pool, name, ["a"], password.get_secret_value())

        asyncio.run(grant())
        settings = settings_for(url, token or "").model_copy(
            update={"database_url": SecretStr(database_url)}
        )
        reader = Reader.of(settings, name, password)
        assert provision(settings, reader) == provision(settings, reader)
