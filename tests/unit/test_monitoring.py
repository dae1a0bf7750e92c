"""Metrics by Prometheus's conventions; alert rules that name what is exported and explained."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import REGISTRY

from schemas.events.dead_letters import DeadLetterReason
from stream.planner import installation_metrics

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "infra" / "prometheus" / "rules.yml"
BOUNDED_LABELS: Final = {
    *("fault", "key", "kind", "municipality_id", "outcome", "partition", "reason", "status"),
    *("step", "task", "topic", "trigger", "vendor"),
}
"""Of each there are few in an installation; never one a vehicle, fix or request."""
_SUFFIXES: Final = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
_UNITS: Final = ("_seconds", "_bytes")


def _modules() -> Iterator[Any]:
    for path in sorted((ROOT / "stream").rglob("*.py")):
        if "prometheus_client" in path.read_text():
            yield import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def exported() -> dict[str, set[str]]:
    """Return the labels of every name that a scrape of one of our processes may have."""
    names: dict[str, set[str]] = {}
    for module in _modules():
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                (family,) = metric.describe()
                for suffix in _SUFFIXES.get(family.type, ("",)):
                    names[family.name + suffix] = set(metric._labelnames)  # noqa: SLF001
    for name, (_, labels) in installation_metrics._GAUGES.items():  # noqa: SLF001
        names[name] = set(labels)
    for suffix in _SUFFIXES["histogram"]:
        names["fleetpulse_push_to_row_seconds" + suffix] = set()
    return names


def rules() -> Sequence[dict[str, Any]]:
    """Return all alert rules."""
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def test_metrics_have_help_base_units_and_few_labels() -> None:
    names = exported()
    assert len(names) > 30
    families = [family for family in REGISTRY.collect() if family.name.startswith("fleetpulse")]
    assert {family.name for family in families} <= {
        name.removesuffix(suffix) for name in names for suffix in ("", "_total", "_bucket")
    }
    for family in families:
        assert re.fullmatch(r"fleetpulse_[a-z0-9_]+", family.name), family.name
        assert len(family.documentation.split()) >= 2, family.name
        assert not re.search(r"_(ms|minutes|hours|days|km|kb|mb)\b", family.name), family.name
        if family.type == "histogram":
            assert family.name.endswith(_UNITS), family.name
        if family.type == "gauge":
            assert not family.name.endswith(("_total", "_count")), family.name
    for name, labels in names.items():
        assert labels <= BOUNDED_LABELS, name


def test_readiness_that_nobody_has_asked_for_is_no_zero() -> None:
    scrape = (
        "import stream.process.health, prometheus_client as p; print(p.generate_latest().decode())"
    )
    done = subprocess.run(  # of its own: other tests have asked
        [sys.executable, "-c", scrape], capture_output=True, text=True, check=True, timeout=60
    )
    assert "fleetpulse_ready NaN" in done.stdout.splitlines()


def test_dead_letters_of_every_reason_are_counted_from_nought() -> None:
    for reason in DeadLetterReason:
        count = REGISTRY.get_sample_value("fleetpulse_dead_letters_total", {"reason": reason})
        assert count is not None


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_names_metrics_and_labels_that_we_export(rule: dict[str, Any]) -> None:
    names = exported()
    named = re.findall(r"\b(fleetpulse_\w+)(?:\{([^}]*)\})?", rule["expr"])
    assert named or "up{" in rule["expr"]
    for name, matchers in named:
        assert name in names, f"{name} is not exported"
        for label in re.findall(r"(\w+)\s*[=!]", matchers):
            assert label in names[name], f"{name} has no label {label}"
    grouped = {
        label.strip()
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"])
        for label in labels.split(",")
    }
    entries = {"job", "instance"}.union(*(names[name] for name, _ in named))
    assert grouped <= entries
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert shown <= (grouped or entries)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_a_runbook(rule: dict[str, Any]) -> None:
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == rule["alert"].lower()
    sections = re.split(r"^## ", (ROOT / path).read_text(), flags=re.MULTILINE)
    (section,) = [section for section in sections if section.splitlines()[0].lower() == anchor]
    assert len(section.strip().splitlines()) >= 4
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    page = (ROOT / "docs" / "dead-letters.md").read_text()
    sections = {
        title.strip("`"): text
        for title, _, text in (
            section.partition("\n") for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]
        )
    }
    assert set(sections) == set(DeadLetterReason)
    for reason, text in sections.items():
        assert len(text.split()) > 20, reason


def test_prometheus_itself_takes_the_rules_and_raises_the_alerts() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; it comes with Prometheus")
    done = subprocess.run(
        [promtool, "test", "rules", str(ROOT / "tests" / "alert_rules.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
