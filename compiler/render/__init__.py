"""Diagnostics for whoever reads them: a person at a terminal, a program, GitHub's annotations.

``Sources`` gives the lines that a finding points at; each of ``render_text``, ``render_json`` and ``render_github`` turns a list of findings into
one string, in the order given.
"""

from compiler.render.github import render_github
from compiler.render.machine import render_json
from compiler.render.sources import Sources
from compiler.render.text import render_text, summarize

__all__ = ["Sources", "render_github", "render_json", "render_text", "summarize"]
