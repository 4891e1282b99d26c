"""What the admin pages say, in Envoy's shapes, so that who knows Envoy's pages (and the tools that read them) can read these.

ClusterStatus   one cluster with its endpoints as they are now: ``/clusters``
ConfigDump      what is configured, as Envoy's resources: ``/config_dump``; as weft's own sections, with positions: ``/sections``
Stat            one number with its name: ``/stats``
Histogram       how often values fell into which bucket, ever and lately: ``/stats``
Steps           a worker's page in the making: the lane serves between two steps
Connection      one downstream connection that is open: ``/connections``
Explanation     what the serving slice says about one request: ``/explain``
"""
