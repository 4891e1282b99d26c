"""Guardrails: the organisation's own rules about its mesh, kept beside it.

A **Guardrail** (``guardrails/*.yaml``) selects resources and says what must hold of each, or of all together, as a JSON Schema or in CEL.
``load_guardrails`` reads a tree's, ``Guards`` holds documents to them. A **Waiver** (``# weft: ignore[CODE] reason``) in a
configuration file takes back one finding of its line.
"""

from compiler.guardrails.guard import Guards
from compiler.guardrails.guardrail import Guardrail
from compiler.guardrails.load import load_guardrails
from compiler.guardrails.waivers import Waiver, waive, waivers_of

__all__ = ["Guardrail", "Guards", "Waiver", "load_guardrails", "waive", "waivers_of"]
