"""Wycheproof's signatures (JWS) and keys (JWK): nothing that is wrong is taken, nothing that is right by an algorithm of ours is refused."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any

import msgspec

from snapshot.jwt import ALGORITHMS, Jwt, JwtError, decoded_parts
from snapshot.key_set import KeySetError, read_key_set
from tests.conformance.corpus import Tally, read

FILES = ("json_web_signature_test", "json_web_key_test", "json_web_crypto_test")
OTHER_ALGORITHM = "its key is for another algorithm than its signature's (the key decides)"
SECRET = "signed with a secret (HS256 and its kin): only public keys are taken"


def run() -> Tally:
    """Every signature of the three files; what is encrypted (JWE) is no token of ours."""
    tally = Tally()
    for name in FILES:
        for group in read(f"jwt/{name}.json")["testGroups"]:
            for case in group["tests"]:
                label = f"{name} {case['tcId']} {case['comment']}"
                if "jws" not in case:
                    tally.leave(label, "encrypted (JWE): not used by tokens of bearers")
                    continue
                taken = _taken(case["jws"], group.get("public") or group["private"])
                why = _why_not_ours(case, group) if case["result"] == "valid" and not taken else ""
                if why:
                    tally.leave(label, why)
                else:
                    right = taken == (case["result"] == "valid")
                    tally.count(label, None if right else "taken" if taken else "refused")
    return tally


def _why_not_ours(case: dict[str, Any], group: dict[str, Any]) -> str:
    header = json.loads(urlsafe_b64decode(case["jws"].split(".")[0] + "==="))
    if header["alg"] not in ALGORITHMS:
        return SECRET
    stated = (group.get("public") or group["private"]).get("alg", header["alg"])
    return OTHER_ALGORITHM if stated not in (header["alg"], "ES521") else ""


def _taken(text: Any, keys: dict[str, Any]) -> bool:
    """Whether a signature is taken; these tests sign texts that are no claims, so what is in them is not looked at."""
    try:
        key_set = read_key_set(json.dumps(keys if "keys" in keys else {"keys": [keys]}))
        header, _ = decoded_parts(text)
        found = msgspec.json.decode(header)
        jwt = Jwt(text, found["alg"], found.get("kid", ""), "", "", (), 0, 0, {}, "crit" in found)
        key_set.require_signed(jwt)
    except (JwtError, KeySetError, msgspec.DecodeError, AttributeError, TypeError, KeyError):
        return False
    return True
