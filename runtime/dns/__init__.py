"""The DNS server for the application behind a sidecar: names of the mesh are answered from the slice, everything else is asked on.

NameIndex   what the slice says of names, ready to be asked
Answer      what is known of one question: a chain of aliases, addresses, and perhaps a name to ask others for
Query       one question that arrived, with all that its reply depends on
Forwarder   the client of the machine's own resolvers
DnsProxy    the server: its sockets, the index in use and the live data that fill it
"""
