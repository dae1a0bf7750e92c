"""Apache Kafka 4.1.1 in KRaft mode: one process that is broker and controller, on loopback.

The jars come from Maven Central and are kept in `.cache/apache-kafka` of the repository.
`python -m tests.apache_kafka.broker` fetches them ahead of the tests, whose time is limited.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from infra.embedded.directory import Account, make_run_directory
from infra.embedded.process import Child, ChildFailedError, free_port
from infra.embedded.reaper import Reaper

VERSION: Final = "4.1.1"
OLDEST_JAVA: Final = 17
_POM: Final = Path(__file__).with_name("pom.xml")
_CACHE: Final = Path(__file__).parents[2] / ".cache" / "apache-kafka"
_RESOLVE_LIMIT_S: Final = 900.0
_COMMAND_LIMIT_S: Final = 60.0
_START_LIMIT_S: Final = 60.0
_START_TRIES: Final = 3
_STARTED: Final = "Kafka Server started"

# Without the first, each virtual machine leaves a file in the shared temporary directory.
_JAVA_OPTIONS: Final = ("-XX:-UsePerfData", "-Xmx512m", "-Dlog4j2.level=INFO")


def _java_version(java: str) -> int:
    """Return the major version that `java -version` tells. Raises `ChildFailedError`."""
    text = _run([java, "-XX:-UsePerfData", "-version"])
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    if match is None:
        raise ChildFailedError(f"{java} -version tells no version:\n{text}")
    return int(match[1])


def apache_kafka_available() -> str | None:
    """Return why Apache Kafka cannot run here, or None when it can."""
    java = shutil.which("java")
    if java is None:
        return f"java is not installed; Apache Kafka needs Java {OLDEST_JAVA} or newer"
    try:
        version = _java_version(java)
    except ChildFailedError as error:
        return str(error)
    if version < OLDEST_JAVA:
        return f"java is version {version}; Apache Kafka needs Java {OLDEST_JAVA} or newer"
    if shutil.which("mvn") is None:
        return "mvn (Maven) is not installed; it fetches Apache Kafka"
    return None


def _run(command: list[str], *, limit_s: float = _COMMAND_LIMIT_S) -> str:
    """Run a command and return what it said. Raises `ChildFailedError` when it fails."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildFailedError(f"{name} did not end within {limit_s:g} s") from error
    if done.returncode:
        raise ChildFailedError(f"{name} ended with code {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def fetch() -> Path:
    """Return the folder of the broker's jars, fetched once for all runs of this repository.

    Raises `ChildFailedError` when Maven does not deliver them.
    """
    folder = _CACHE / VERSION
    wanted = hashlib.sha256(_POM.read_bytes()).hexdigest()
    complete = folder / "complete"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / f"{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.is_file() and complete.read_text() == wanted:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        _run(
            [
                "mvn",
                "-q",
                "-B",
                f"--file={_POM}",
                f"-Dmaven.repo.local={_CACHE.with_name('maven')}",
                "dependency:copy-dependencies",
                f"-DoutputDirectory={folder}",
            ],
            limit_s=_RESOLVE_LIMIT_S,
        )
        complete.write_text(wanted)
    return folder


@dataclass(frozen=True, slots=True)
class User:
    """Who may enter a secured broker."""

    name: str = "fleetpulse"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


class Certificates:
    """An authority and the server certificate that it signed, for 127.0.0.1 and localhost."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        self.authority = directory / "authority.pem"
        self.keystore = directory / "server.p12"
        self.password = secrets.token_urlsafe(24)
        self._password_file = directory / "password"
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(self.password)
        authority, request, signed = (
            directory / "authority.p12",
            directory / "server.csr",
            directory / "server.pem",
        )
        self._make_key(authority, "authority", "bc:c=ca:true", "ku:c=keyCertSign,cRLSign")
        self._keytool(authority, "exportcert", "authority", "-rfc", "-file", str(self.authority))
        self._make_key(self.keystore, "server")
        self._keytool(self.keystore, "certreq", "server", "-file", str(request))
        self._keytool(
            authority,
            *("gencert", "authority", "-rfc", "-validity", "2"),
            *("-ext", "san=ip:127.0.0.1,dns:localhost", "-ext", "eku=serverAuth"),
            *("-infile", str(request), "-outfile", str(signed)),
        )
        for alias, certificate in (("authority", self.authority), ("server", signed)):
            self._keytool(
                self.keystore, "importcert", alias, "-noprompt", "-file", str(certificate)
            )

    def _make_key(self, store: Path, alias: str, *extensions: str) -> None:
        self._keytool(
            store,
            *("genkeypair", alias, "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "2"),
            *("-dname", f"CN=fleetpulse test {alias}"),
            *(word for extension in extensions for word in ("-ext", extension)),
        )

    def _keytool(self, store: Path, what: str, alias: str, *options: str) -> None:
        _run(
            [
                *("keytool", "-J-XX:-UsePerfData", f"-{what}", "-alias", alias),
                *("-keystore", str(store), "-storetype", "PKCS12"),
                *("-storepass:file", str(self._password_file), *options),
            ]
        )

    def properties(self) -> dict[str, str]:
        """Return what the broker needs to know of its certificate."""
        return {
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(self.keystore),
            "ssl.keystore.password": self.password,
            "ssl.key.password": self.password,
        }


def _properties(home: Path, ports: Sequence[int], certificates: Certificates | None) -> str:
    """Return the broker's configuration; ports are those for clients, itself and controller."""
    client, internal, controller = ports
    secured = certificates is not None
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INTERNAL",
        "listeners": f"CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal},"
        f"CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal}",
        "listener.security.protocol.map": f"CLIENT:{'SASL_SSL' if secured else 'PLAINTEXT'},"
        "INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(home / "data"),
        "auto.create.topics.enable": "false",
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "6000",
    }
    if certificates is not None:
        lines |= certificates.properties() | {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


class ApacheKafka:
    """Context of a running broker; no process and no directory is left when it is left.

    With a user, clients need TLS (trust `authority`) and the user's SCRAM-SHA-512 password.
    Raises `ChildFailedError` with the end of its log when the broker does not start.
    """

    def __init__(self, user: User | None = None) -> None:
        self.user = user
        self._cluster_id = secrets.token_hex(11)

    def __enter__(self) -> Self:
        jars = fetch()
        self._directory = make_run_directory(Account.current())
        self._guardian = Reaper(self._directory)
        try:
            self._certificates = (
                Certificates(self._directory / "certificates") if self.user else None
            )
            self._child, self._port = self._start(jars)
        except BaseException:
            self._guardian.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._child.stop()
        finally:
            self._guardian.close()

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self._port}"

    @property
    def authority(self) -> Path:
        """The PEM file of the authority that signed a secured broker's certificate."""
        if self._certificates is None:
            raise ValueError("this broker speaks plain text; start it with ApacheKafka(User())")
        return self._certificates.authority

    def _start(self, jars: Path) -> tuple[Child, int]:
        for attempt in range(1, _START_TRIES + 1):
            home = self._directory / f"kafka-{attempt}"
            home.mkdir(mode=0o700)
            ports = [free_port() for _ in range(3)]
            java = ["java", *_JAVA_OPTIONS, f"-Djava.io.tmpdir={home}", "-cp", f"{jars}/*"]
            configuration = home / "server.properties"
            configuration.touch(mode=0o600)
            configuration.write_text(_properties(home, ports, self._certificates))
            self._format(java, configuration)
            self._java, self._home = java, home
            child = self._run_server()
            try:
                child.wait_until(
                    lambda child=child: _STARTED in child.log.read_text(errors="replace"),  # type: ignore[misc]
                    limit_s=_START_LIMIT_S,
                )
            except ChildFailedError:
                child.stop()
                # Somebody may have taken a port between our look and the broker's.
                if attempt == _START_TRIES:
                    raise
            else:
                return child, ports[0]
        raise AssertionError("unreachable: the last try returns or raises")

    def _run_server(self) -> Child:
        return Child(
            "kafka",
            [*self._java, "kafka.Kafka", str(self._home / "server.properties")],
            reaper=self._guardian,
            directory=self._home,
        )

    @property
    def pid(self) -> int:
        """Return the broker's process id."""
        return self._child.process.pid

    def kill(self) -> None:
        """Kill the broker; what it holds stays on disk."""
        self._child.process.kill()
        self._child.process.wait()

    def wipe(self, *, same_id: bool) -> None:
        """Delete what a killed broker holds; it comes back empty, as another cluster or not."""
        shutil.rmtree(self._home / "data")
        if not same_id:
            self._cluster_id = secrets.token_hex(11)
        self._format(self._java, self._home / "server.properties")

    def start_again(self) -> None:
        """Start a killed broker again, on the same port."""
        child = self._child = self._run_server()
        before = child.log.read_text(errors="replace").count(_STARTED)
        child.wait_until(
            lambda: child.log.read_text(errors="replace").count(_STARTED) > before,
            limit_s=_START_LIMIT_S,
        )

    def _format(self, java: list[str], configuration: Path) -> None:
        """Prepare the storage, the user included."""
        command = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster_id}"]
        if self.user is not None:
            command.append(
                f"--add-scram=SCRAM-SHA-512=[name={self.user.name},password={self.user.password}]"
            )
        _run([*command, f"--config={configuration}"])


if __name__ == "__main__":
    reason = apache_kafka_available()
    if reason is not None:
        raise SystemExit(reason)
    fetch()
