"""TLS of the data plane: contexts built when a slice is prepared, the ClientHello read before a chain is chosen, and who the peer is."""
