"""Trust: who may say what a proxy runs. The only package that imports tuf and securesystemslib; workers never import it.

Release: the record of one publication, the one TUF target per channel (``release``). Chain: verified metadata from a pinned root
down to targets, expired or not (``chain``). Untrusted: why something is not believed, with a closed reason (``failure``).
SigningKeys: a keys directory (``keys``). Publishing and timestamps are in ``publisher``, fetching with python-tuf's Updater in ``client``.

The names are imported from their modules, so that reading a Release costs no import of tuf.
"""

from snapshot.trust.cloud_signers import leave_out

leave_out()
