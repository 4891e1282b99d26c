"""What ``weft init`` writes: a mesh repository to start from.

- Origin: where CI gets weft from, a Git URL and a revision.
- Starter: the files of a new repository, made from ``template/`` for one trust domain and one origin.
- StarterError: why nothing was written.
"""

from weft.starter.origin import Origin, installed_origin
from weft.starter.repository import Starter, StarterError

__all__ = ["Origin", "Starter", "StarterError", "installed_origin"]
