"""The bookshop demonstration: a whole mesh on this machine's loopback addresses, and a story told on it while a steady load runs.

Plan      which process runs where: the one table of addresses (``plan``)
Children  the processes of the demonstration: started, watched, ended, never left behind (``children``)
Pipeline  the mesh's Git repository and the commands that a CI job runs on it (``pipeline``)
Load      the load generator, a process of its own that counts every request (``load``, ``load_client``)
Observer  what the proxies say that they run, and how long a publication took to get there (``observer``)
Screen    tables on a terminal, plain lines elsewhere (``screen``)
Story     what happens, step by step (``story``)
"""
