"""``weft dev``: the mesh of a work tree, run on this machine and compiled again at every save.

DevFile     what ``weft-dev.toml`` says: which processes there are and which workload of the mesh each is (``devfile``)
Builder     work tree -> snapshot, or what is wrong with it; snapshot -> release in a store of its own (``builder``)
Placement   a snapshot's gateways and the named workloads, each on an address of its own (``placement``)
Keeper      the processes and sidecars of a placement: started, changed, started again, ended (``keeper``)
Board       what there is to see; a Screen shows it (``board``, ``screen``)
Session     the loop from a save to live, and the end that leaves nothing behind (``session``)
"""
