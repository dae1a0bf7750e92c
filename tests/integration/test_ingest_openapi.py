"""The OpenAPI document and the vendors' port agree: schemathesis asks whatever the one allows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection

from infra.embedded.reaper import Reaper
from infra.settings import Settings
from schemas.events.history import HEADER
from tests.integration.ingest_door import new_key
from tests.processes import Service

EXAMPLES = 60
CONFIG = {
    # Its own default leaves 413 out, which is what an array that is too long is answered.
    "checks": {"negative_data_rejection": {"expected-statuses": [400, 401, 405, 413, 422]}}
}


@pytest.mark.long
def test_the_server_does_what_its_document_says(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    key = asyncio.run(new_key(installation))
    generous = installation.model_copy(update={"max_new_vehicles_per_day": 1_000_000})
    answered: set[int] = set()

    def send(case: Any, http: httpx.Client) -> None:
        # A range of dates in order, which a schema cannot say; test_history_at_the_door.py has it.
        case.headers.pop(HEADER, None)
        request: Any = requests.Request(
            **case.as_transport_kwargs(http_base, {"Authorization": f"Bearer {key}"})
        ).prepare()
        answer = http.request(
            request.method, request.url, headers=dict(request.headers), content=request.body
        )
        answered.add(answer.status_code)
        # That one asks again by `requests`, over urllib3, which a library of ours replaces. That
        # nobody is let in without a key, test_ingest.py holds.
        excluded = [ignored_auth]
        if answer.status_code == httpx.codes.ACCEPTED and answer.json()["rejected"]:
            # What is wrong was rejected, and the good events beside it taken: no check knows that.
            excluded.append(negative_data_rejection)
        case.validate_response(answer, excluded_checks=excluded)

    with Service("ingest", generous, reaper, tmp_path) as service:
        service.wait_ready()
        http_base = service.url
        document = httpx.get(f"{service.admin_url}/openapi.json").json()
        schema = from_dict(document, config=SchemathesisConfig.from_dict(CONFIG))
        with httpx.Client(timeout=30) as http:
            operations: Any = schema.get_all_operations()
            for operation in (result.ok() for result in operations):
                takes_nothing = operation.method == "get"  # so nothing wrong can be sent
                for mode in [GenerationMode.POSITIVE] if takes_nothing else GenerationMode:
                    # pytest's own decorator would send by `requests`, too.
                    @hypothesis_settings(
                        max_examples=EXAMPLES,
                        deadline=None,
                        database=None,
                        derandomize=True,
                        phases=[Phase.explicit, Phase.generate],
                        suppress_health_check=list(HealthCheck),
                    )
                    @given(operation.as_strategy(generation_mode=mode))
                    def ask(case: Any) -> None:
                        send(case, http)

                    ask()
    assert {200, 202, 422} <= answered
