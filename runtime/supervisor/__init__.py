"""The process that holds everything a worker must not: sockets, store, keys' origin, names, the control plane, the admin pages.

Supervisor    the spine: what happens when a slice, a certificate, a registry or a signal arrives
Sockets       the bound listeners, one per worker and address
Fleet         the worker processes: spawned, prepared and swapped all or none, respawned, drained
SliceFacts    what the supervisor itself reads of a slice
Running       what this proxy runs and what went wrong last, for the admin pages, the metrics and the control plane
"""
