"""weft beside real Envoy, nginx and haproxy on the same work, in one run. ``README.md`` says what each row switches on.

Work      what is asked of a proxy: the load, the protocols, the number of routes
Target    one proxy (or none) that does it: its configuration and its processes
Run       one measured load: requests, latency, and the CPU time of all the target's processes
Row       the median of a work's runs on one target
"""
