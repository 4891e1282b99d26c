"""Whether the application behind a sidecar can take requests, found out by asking it.

Streak: what a row of answers comes to. Prober: the task that asks as the slice's Probe says and tells when the verdict changes.
"""
