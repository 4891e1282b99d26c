"""Writes what each bad case shows, and the page of codes with it: ``python -m tests.compiler.catalog_goldens``; then look at the difference."""

from __future__ import annotations

import tempfile
from pathlib import Path

from compiler.codes_page import codes_page
from tests.compiler.catalog_cases import CODES, FOLDER, case, example, golden

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "codes.md"


def main() -> None:
    """Writes every golden, then the page."""
    for code in CODES:
        with tempfile.TemporaryDirectory() as copy:
            text = golden(case(code, "bad", Path(copy)))
        (FOLDER / code / "bad.txt").write_text(text, encoding="utf-8")
    PAGE.write_text(codes_page({code: example(code) for code in CODES}), encoding="utf-8")


if __name__ == "__main__":
    main()
