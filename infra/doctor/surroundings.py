"""What is around: disk, Grafana, and how connections are protected."""

from __future__ import annotations

import ipaddress
import shutil
import tempfile
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from infra.doctor.finding import Finding, fault, ok, warning
from infra.settings import Settings

_FREE_WARNING: Final = 0.2
_FREE_FAULT: Final = 0.05
_CHECKED_TLS: Final = frozenset({"verify-ca", "verify-full"})


def look_at_disk(data_directory: str | None) -> list[Finding]:
    """Return findings about the disks: the database's where it is on this machine, and ours."""
    findings = []
    if data_directory is not None and Path(data_directory).is_dir():
        findings.append(_free("disk of the database", Path(data_directory)))
    else:
        findings.append(
            ok("disk of the database", "not on this machine, or not ours to see: watch it there")
        )
    findings.append(_free("disk of this machine", Path(tempfile.gettempdir())))
    return findings


def _free(subject: str, path: Path) -> Finding:
    usage = shutil.disk_usage(path)
    share = usage.free / usage.total
    text = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free ({share:.0%})"
    remedy = "make room, or `fleetpulse prune`; a database without room stops"
    if share < _FREE_FAULT:
        return fault(subject, text, remedy)
    if share < _FREE_WARNING:
        return warning(subject, text, remedy)
    return ok(subject, text)


def look_at_protection(settings: Settings) -> list[Finding]:
    """Return findings about how connections to other machines are protected."""
    findings = []
    database = conninfo_to_dict(settings.conninfo)
    host, sslmode = str(database.get("host") or ""), str(database.get("sslmode"))
    if _is_local(host):
        findings.append(ok("TLS to the database", "not needed: on this machine"))
    elif sslmode in _CHECKED_TLS:
        findings.append(ok("TLS to the database", f"sslmode={sslmode}"))
    else:
        findings.append(
            warning(
                "TLS to the database",
                f"{host} with sslmode={sslmode}: nobody checks whom we talk to",
                "FLEETPULSE_DATABASE_SSLMODE=verify-full and FLEETPULSE_DATABASE_SSLROOTCERT",
            )
        )
    brokers = [server.strip() for server in settings.kafka.bootstrap_servers.split(",")]
    remote = [server for server in brokers if not _is_local(server.rpartition(":")[0])]
    protocol = settings.kafka.security_protocol
    if remote and not protocol.endswith("SSL"):
        findings.append(
            warning(
                "TLS to the broker",
                f"{', '.join(remote)} with {protocol}: positions travel in the clear",
                "FLEETPULSE_KAFKA_SECURITY_PROTOCOL=SASL_SSL",
            )
        )
    else:
        findings.append(ok("TLS to the broker", protocol if remote else "on this machine"))
    return findings


def _is_local(host: str) -> bool:
    """Return whether a host is this machine: a loopback address, its name, or a socket."""
    if host in {"", "localhost"} or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def look_at_grafana(settings: Settings) -> list[Finding]:
    """Return findings about Grafana: reachable, with our data source and dashboards."""
    from infra.grafana.provision import ProvisionError, missing  # noqa: PLC0415 - slow to import

    if settings.grafana_url is None:
        return [ok("Grafana", "FLEETPULSE_GRAFANA_URL is not set: not looked at")]
    try:
        absent = missing(settings)
    except ProvisionError as error:
        return [fault("Grafana", str(error), "start it, or set FLEETPULSE_GRAFANA_URL and _TOKEN")]
    if absent:
        return [
            fault("Grafana", f"missing: {', '.join(absent)}", "fleetpulse dashboards --user READER")
        ]
    return [ok("Grafana", "answers, with our data source and dashboards")]
