"""Datagrams through: a DatagramAcceptor per listening socket, and in it a session per client, with a connected socket towards one endpoint.

Path says by which address a datagram came, so that answers leave by it. docs/adr/0038 says how workers share a port, and what a swap keeps.
"""
