"""How a cluster's requests are spread over its endpoints: what is live about it, beside the pure choice in ``snapshot.resolve``.

Level and Part: endpoints by how near they are (``localities``). Share: endpoints that take a part of the requests now (``shares``).
Outliers: which endpoints are left out because of what they answered (``outlier``). Watch: all that is remembered of a cluster's endpoints
from one generation to the next (``watch``).
"""
