"""Link: the mesh becomes one slice per proxy.

A **Scope** is what one namespace's slices can depend on, and all that they are linked from; its fingerprint says whether that has changed.
A **View** is a mesh as one namespace sees it. A **SliceDraft** collects one proxy's sections; a **LinkedSlice** is what it comes to,
with its **ProxyShape** (whom it is for) and the **LinkedPart** that it shares with its neighbours. Nothing here complains: a reference that
does not resolve becomes an explicit 5xx, and analysis has said so before.
"""

from compiler.link.draft import LinkedPart, LinkedSlice, ProxyShape, SliceDraft
from compiler.link.scope import Scope, Scopes
from compiler.link.slices import link
from compiler.link.view import View

__all__ = ["LinkedPart", "LinkedSlice", "ProxyShape", "Scope", "Scopes", "SliceDraft", "View", "link"]
