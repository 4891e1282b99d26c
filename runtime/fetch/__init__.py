"""Fetching: the supervisor's way from a store to a slice that may be used.

follow: tells of every new release of a channel, until cancelled. VerifiedSlice: this proxy's slice, authentic to the last byte.
FetchProblem: why there is no news; what was verified last goes on. News: either of the two.
"""

from runtime.fetch.follow import follow
from runtime.fetch.news import FetchProblem, News, VerifiedSlice

__all__ = ["follow", "VerifiedSlice", "FetchProblem", "News"]
