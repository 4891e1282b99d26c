"""What one proxy is configured with, read from its admin port: Envoy's pages in, rows out. Our data plane and Envoy answer alike.

Page      what was asked of an admin port, as plain data
Wanted    which rows the user asked for
Row       one line of a table, and the resource that it stands for
"""
