"""Link: the mesh becomes one slice per proxy.

A **View** is the mesh as the proxies of one namespace see it. A **SliceDraft** collects one proxy's sections; a **LinkedSlice** is what it
comes to, with its **ProxyShape** (whom it is for). Nothing here complains: a reference that does not resolve becomes an explicit 5xx, and
analysis has said so before.
"""

from compiler.link.draft import LinkedSlice, ProxyShape, SliceDraft
from compiler.link.slices import link
from compiler.link.view import View

__all__ = ["LinkedSlice", "ProxyShape", "SliceDraft", "View", "link"]
