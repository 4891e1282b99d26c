"""The codes of guardrails and of waivers; ``compiler/catalog.py`` is the whole table."""

from __future__ import annotations

from compiler.code import Code
from compiler.diagnostic import Severity

GUARDRAIL_INVALID = "WFT0300"
GUARDRAIL_BROKEN = "WFT0301"
WAIVER_UNUSED = "WFT0302"
WAIVER_INVALID = "WFT0303"

GUARDRAIL_CODES: tuple[Code, ...] = (
    Code(
        GUARDRAIL_INVALID,
        "GuardrailInvalid",
        Severity.ERROR,
        "A guardrail cannot be used: its expression or its schema is wrong, or it stands where guardrails are not read.",
        "Correct the guardrail; until then it guards nothing, so nothing is published.",
    ),
    Code(
        GUARDRAIL_BROKEN,
        "GuardrailBroken",
        Severity.ERROR,
        "A resource does what a guardrail of this repository forbids. The guardrail says how severe that is.",
        "Change the resource, or waive the finding with a reason: `# weft: ignore[WFT0301] reason`.",
    ),
    Code(
        WAIVER_UNUSED,
        "WaiverUnused",
        Severity.WARNING,
        "A waiver waives nothing: there is no such finding at its line.",
        "Remove the comment.",
    ),
    Code(
        WAIVER_INVALID,
        "WaiverInvalid",
        Severity.WARNING,
        "A waiver does not hold: it gives no reason, or names a code that does not exist or cannot be waived.",
        "Write `# weft: ignore[CODE] reason`. Errors of the mesh itself cannot be waived, only corrected.",
    ),
)
