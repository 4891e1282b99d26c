"""The control plane: one process beside the mesh, never in the path of a request.

    Authority      the certificate authority: a root, an intermediate, and what they sign
    Ledger         what survives a restart: join tokens, issued certificates, registrations (SQLite)
    Naming         which identity may stand for which workload, read from the published snapshot
    Publication    what the store has published, as far as the control plane verified it
    Leases         the workloads that are there now, each until its lease ends
    Board          a version, and the waiters that are woken when it grows
    Page           one route of the HTTP interface: who may call it, and what answers

The wire types are in ``runtime.control.interface``; the spine is ``runtime.control.server``. When this process is down, proxies keep their
slices, certificates and endpoints and serve on. Names are imported from their modules.
"""
