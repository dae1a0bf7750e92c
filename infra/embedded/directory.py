"""A directory and an unprivileged user for servers that refuse to run as root."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_UNPRIVILEGED: Final = "nobody"


@dataclass(frozen=True, slots=True)
class Account:
    """The account that the database runs as: our own, or `nobody` when we are root."""

    uid: int
    gid: int

    @classmethod
    def current(cls) -> Account:
        """Return the account to use. Raises `KeyError` when root has no `nobody` to turn to."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        entry = pwd.getpwnam(_UNPRIVILEGED)
        return cls(entry.pw_uid, entry.pw_gid)

    @property
    def is_ours(self) -> bool:
        """Whether it is the account that we run as already."""
        return self.uid == os.geteuid()

    def popen_options(self) -> dict[str, Any]:
        """Return what `subprocess` needs to run as this account."""
        if self.is_ours:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a path to this account."""
        os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """Return whether this account may walk to the path, judged by the mode of its parents."""
        if self.is_ours:
            return True
        return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


def make_run_directory(account: Account) -> Path:
    """Create a fresh directory that only we can list and that the account can walk through.

    Never below a home directory that the account cannot enter: opening such a directory to the
    world, as the database's own wheel does, is not ours to decide.
    """
    for base in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108
        if base.is_dir() and os.access(base, os.W_OK) and account.reaches(base / "x"):
            path = Path(tempfile.mkdtemp(prefix="fleetpulse-", dir=base))
            path.chmod(0o711)
            return path
    raise PermissionError(
        f"no temporary directory that user id {account.uid} can enter; set TMPDIR to one that is "
        "open to all users, such as /tmp"
    )
