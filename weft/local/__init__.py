"""A mesh on this machine's loopback addresses: what the demonstration, ``weft dev`` and ``weft run`` have in common.

Children    processes that somebody started: watched, ended with what they started, never left behind (``children``)
LocalProxy  one proxy of a local mesh: where it is, whose identity it has, which slice it asks for (``bootstraps``)
LocalPlane  a control plane with throw-away keys and authority, as a child (``plane``)
ProxyView   what a proxy says that it runs (``views``)
HttpClient  one small HTTP/1.1 connection that takes nothing for granted (``http_client``)
"""
