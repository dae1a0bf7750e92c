"""What several tests of law 4 share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import sql

from tests.databases import Databases
from tests.sample_fleet import recent_start, role
from tests.two_installations import OWN, Installations, fill_all, fill_alone


@pytest.fixture(scope="module")
def installations(databases: Databases) -> Iterator[Installations]:
    since = recent_start(2)
    with ExitStack() as stack:
        alone = stack.enter_context(databases.filled(f"{OWN} alone since {since}", fill_alone))
        beside = stack.enter_context(databases.filled(f"all analysed since {since}", fill_all))
        owner = stack.enter_context(psycopg.connect(beside, autocommit=True))
        names = stack.enter_context(role(owner)), stack.enter_context(role(owner))
        # Rights in the other database have to go before the role can.
        alone_owner = stack.enter_context(psycopg.connect(alone, autocommit=True))
        stack.callback(
            lambda: alone_owner.execute(
                sql.SQL("DROP OWNED BY {}").format(sql.Identifier(names[0]))
            )
        )
        yield Installations(alone, beside, owner, names)
