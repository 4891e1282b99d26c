"""Who this proxy is: its X.509-SVID, from where it comes and when it is replaced.

ChainFacts     what a certificate chain says that SPIFFE has rules about
SavedIdentity  the SVID on disk, so that a restart needs no control plane
IdentityKeeper the task that obtains, saves, emits and rotates
"""
