"""XXH64, the digest by which Envoy places keys and endpoints, so that a key has the same endpoint on both engines.

Written after the algorithm's specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md). No secrets depend on it.
"""

from __future__ import annotations

from struct import Struct

_MASK = (1 << 64) - 1
_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_STRIPE = 32
_LANES, _LANE, _HALF = Struct("<4Q"), Struct("<Q"), Struct("<I")


def xxh64(data: bytes, seed: int = 0) -> int:
    """The 64-bit digest of some bytes."""
    length = len(data)
    place = 0
    if length >= _STRIPE:
        state, place = _stripes(data, seed)
    else:
        state = seed + _P5
    state = (state + length) & _MASK
    while place + 8 <= length:
        state ^= _round(0, _LANE.unpack_from(data, place)[0])
        state = (((state << 27 | state >> 37) & _MASK) * _P1 + _P4) & _MASK
        place += 8
    if place + 4 <= length:
        state ^= _HALF.unpack_from(data, place)[0] * _P1 & _MASK
        state = (((state << 23 | state >> 41) & _MASK) * _P2 + _P3) & _MASK
        place += 4
    for byte in data[place:]:
        state ^= byte * _P5 & _MASK
        state = ((state << 11 | state >> 53) & _MASK) * _P1 & _MASK
    state = (state ^ state >> 33) * _P2 & _MASK
    state = (state ^ state >> 29) * _P3 & _MASK
    return state ^ state >> 32


def _round(lane: int, word: int) -> int:
    lane = (lane + word * _P2) & _MASK
    return ((lane << 31 | lane >> 33) & _MASK) * _P1 & _MASK


def _stripes(data: bytes, seed: int) -> tuple[int, int]:
    """The state after all whole stripes, and where they end."""
    lanes = [(seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK, seed, (seed - _P1) & _MASK]
    place = 0
    while place + _STRIPE <= len(data):
        lanes = [_round(lane, word) for lane, word in zip(lanes, _LANES.unpack_from(data, place), strict=True)]
        place += _STRIPE
    state = sum(_rotated(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
    for lane in lanes:
        state = ((state ^ _round(0, lane)) * _P1 + _P4) & _MASK
    return state, place


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> 64 - by) & _MASK
