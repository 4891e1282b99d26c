"""Where the data is, and how a corpus counts."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("WEFT_CONFORMANCE") or Path(__file__).parents[3] / "shared" / "conformance")


@dataclass
class Tally:
    """How a corpus went: how many cases were right, and which were wrong or left out, with the reason."""

    right: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    features: dict[str, Counter[str]] = field(default_factory=dict)
    """Right and wrong cases by what they need, where a corpus says that."""

    @property
    def cases(self) -> int:
        """All cases of the corpus."""
        return self.right + len(self.wrong) + len(self.left_out)

    def count(self, case: str, problem: str | None) -> None:
        """Counts one case: right where there is no problem."""
        if problem is None:
            self.right += 1
        else:
            self.wrong.append((case, problem))

    def leave(self, case: str, why: str) -> None:
        """Counts one case as left out."""
        self.left_out.append((case, why))

    def summary(self) -> dict[str, Any]:
        """For the JSON file: counts, and left-out cases by reason."""
        reasons = Counter(why for _, why in self.left_out)
        return {
            "cases": self.cases,
            "right": self.right,
            "wrong": len(self.wrong),
            "left_out": len(self.left_out),
            "reasons": dict(reasons),
            **(
                {"features": {name: dict(counts) for name, counts in sorted(self.features.items())}}
                if self.features
                else {}
            ),
        }


def read(path: str) -> Any:
    """One JSON file of the data."""
    return json.loads((DATA / path).read_text())
