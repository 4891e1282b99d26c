"""Who is there: the registry of the control plane, this workload's own registration in it, and DNS.

ControlClient  every call to the control plane's HTTP interface
"""
