"""The compiler from top to bottom: a tree of mesh YAML -> what is wrong with it."""

from __future__ import annotations

from compiler.diagnostic import Diagnostic
from compiler.documents import load_documents
from compiler.schemas import validate
from compiler.tree import Tree


def check(tree: Tree) -> list[Diagnostic]:
    """Everything that is wrong with a tree, sorted by position. Stages after the first that finds an error do not run."""
    documents, found = load_documents(tree)
    for document in documents:
        found += validate(document)
    return sorted(found, key=lambda diagnostic: (diagnostic.span, diagnostic.code, diagnostic.message))
