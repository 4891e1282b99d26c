"""The lane: the one task of a worker that owns every data-plane socket, and what a connection is made of there.

Lane: the loop; it drains an epoll set in bounded rounds. Wheel and Timer: deadlines that cost nothing until they are due. Channel: one socket
with its interest and its unsent bytes; TlsChannel: the same with TLS. Sink: the machine that a channel feeds.

Everything here is synchronous but ``Lane.run``: a machine is called, does what it can without waiting, and returns. docs/adr and
performance.md's figures say why: a task per connection costs twice the CPU.
"""
