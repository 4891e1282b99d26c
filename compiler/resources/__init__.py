"""Resources: what documents say, as frozen values.

A **Resource** is one Kubernetes-shaped object with every default filled in; this package is the one owner of defaults. A **Cursor**
reads positioned nodes. A **Located** is a reference to something else, with its place. **Meta** is a resource's name, place and age.
**Resources** is everything that a tree declares, in the order between competitors.
"""

from compiler.resources.cursor import Cursor, Located
from compiler.resources.load import Resource, Resources, read_document
from compiler.resources.meta import Meta

__all__ = ["Resource", "Resources", "Meta", "Located", "Cursor", "read_document"]
