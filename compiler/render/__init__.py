"""Diagnostics for whoever reads them: a person at a terminal, a program, the pages of a code host, a CI system.

``Sources`` gives the lines that a finding points at; each ``render_...`` turns a list of findings into one string, in the order given.
"""

from compiler.render.github import render_github
from compiler.render.gitlab import render_gitlab
from compiler.render.junit import render_junit
from compiler.render.machine import render_json
from compiler.render.sarif import render_sarif
from compiler.render.sources import Sources
from compiler.render.text import render_text, summarize

__all__ = [
    "Sources",
    "render_github",
    "render_gitlab",
    "render_json",
    "render_junit",
    "render_sarif",
    "render_text",
    "summarize",
]
