"""Analysis: what resources say about each other that cannot hold.

A **check** is one file: a function from the mesh to diagnostics, with a code of the catalog. **analyze** runs all of them.
"""

from compiler.analysis.checks import CHECKS, Check, analyze

__all__ = ["CHECKS", "Check", "analyze"]
