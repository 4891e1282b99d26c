"""The Envoy engine: a verified slice, run by an Envoy process instead of our own lane.

- Translation (``translate``): a prepared slice to Envoy's v3 resources; pure. What has no translation raises, at file and line.
- Placement: what one machine adds to a slice, as the translation needs it: addresses, live endpoints, how parts are delivered.
- Resources: the translated slice, by Envoy's type and resource name.
- Static bootstrap: a configuration file that holds everything (``weft export envoy``).

Nothing here is imported before somebody asks for Envoy: the messages cost 30 MiB and come with the extra ``envoy``.
"""
