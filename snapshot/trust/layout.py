"""The names of a store's signed files, how large each may be, and how long each role's signature holds."""

from __future__ import annotations

from datetime import timedelta

ROLES = ("root", "targets", "snapshot", "timestamp")
ONLINE_ROLES = ("snapshot", "timestamp")
PUBLISHER_ROLES = ("targets", "snapshot", "timestamp")

LIFETIMES = {
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=7),
    "timestamp": timedelta(hours=24),
}

MAX_BYTES = {"root": 512_000, "timestamp": 16_384, "snapshot": 65_536, "targets": 1_048_576}
MAX_RELEASE_BYTES = 65_536
MAX_ROOT_ROTATIONS = 256

TIMESTAMP = "metadata/timestamp.json"


def metadata_name(role: str, version: int) -> str:
    """Where a version of a role's metadata is kept (consistent snapshots: every version has its own file, but the timestamp)."""
    return f"metadata/{version}.{role}.json"


def target_path(channel: str) -> str:
    """The TUF target path of a channel's release record."""
    return f"{channel}/release.json"


def release_name(channel: str, sha256: str) -> str:
    """Where a release record is kept; TUF clients derive the same name under the base ``targets/``."""
    return f"targets/{channel}/{sha256}.release.json"
