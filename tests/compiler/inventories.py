"""Inventories of documents that are taken as they are, for tests of what comes after validation."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.documents import LoadedFile
from compiler.examined import ExaminedFile
from compiler.files import HeldFile
from compiler.inventory import Inventory
from compiler.node import Document


def inventory_of(documents: Iterable[Document]) -> Inventory:
    """What these documents hold, as if they stood in one file."""
    return Inventory([HeldFile.examined(b"", ExaminedFile(LoadedFile(list(documents), [], {}), [], [], []))])
