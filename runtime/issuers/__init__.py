"""The keys of those who issue tokens: where they may be fetched, how, and how long they hold.

addresses   which hosts and addresses a key set may be fetched from
fetching    one fetch: a key set's address, or an issuer's OpenID configuration and what it names
KeySets     the key sets that fill a slice's slots: fetched, refreshed, kept on disk
"""

from runtime.issuers.fetching import KeyFetchError, KeySetFetcher
from runtime.issuers.keeper import KeySets

__all__ = ["KeyFetchError", "KeySetFetcher", "KeySets"]
