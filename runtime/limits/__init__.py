"""Local rate limits: the whole proxy holds a limit, however many workers it has.

Limiter   a worker's buckets, or, where there are several workers, the tokens that it has borrowed
Lender    the supervisor's buckets, from which workers borrow
enforce   what one exchange does about the limits of its route
"""
