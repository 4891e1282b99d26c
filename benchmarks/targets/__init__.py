"""The programs that are compared, each a translation from a Hop to its own configuration."""
