"""Why a request is refused as a whole: a status, a reason for the metrics, words for the vendor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.errors import UserError

RETRY_AFTER_S: Final = 1


class RefusedError(UserError):
    """Nothing of a request is taken. `reason` is a short fixed name, `detail` says the remedy."""

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers


def try_again(
    status: int, reason: str, detail: str, retry_after_s: int = RETRY_AFTER_S
) -> RefusedError:
    """Return a refusal that asks to send the same again after so many seconds."""
    return RefusedError(status, reason, detail, [(b"retry-after", b"%d" % retry_after_s)])
