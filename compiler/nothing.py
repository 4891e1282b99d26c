"""A mesh in which no proxy finds anything to run: valid, and almost always the wrong folder."""

from __future__ import annotations

from pathlib import Path

from snapshot.index import Snapshot


def nothing_to_run(snapshot: Snapshot, where: Path) -> str:
    """Why a snapshot in which no proxy would find a slice is probably a mistake, and what to do; "" where there is one."""
    if snapshot.index.slices:
        return ""
    return (
        f"{where} has no workload and no gateway, so no proxy would find anything to run: is it the folder of the mesh? "
        "`weft init DIR` makes one; --allow-empty is for who means it"
    )
