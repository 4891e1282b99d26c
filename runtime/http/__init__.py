"""HTTP through the proxy: one exchange, whatever the versions on its two sides.

Exchange: one request and its response, the spine. Downstream and UpstreamStream (stream.py): what an exchange asks of its two sides; the machines of
each version implement them. Pool: the connections to one endpoint. Rules: the headers that a hop adds, trusts or strips.
"""
