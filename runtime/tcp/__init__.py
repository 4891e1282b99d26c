"""Bytes through: TCP connections by chain, and the raw upstream side that CONNECT uses, too."""
