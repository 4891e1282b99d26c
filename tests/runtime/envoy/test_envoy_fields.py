"""Nothing of a slice is dropped unsaid: every field of its types is translated, or refused by name."""

from __future__ import annotations

import types
import typing

import msgspec
import pytest

from policies.source import SourceRef
from policies.traffic import HeaderEdits
from runtime.envoy import fields
from runtime.envoy.failure import TranslationError
from runtime.envoy.fields import KNOWN, require_known
from snapshot.section import Section

REFUSED = {
    "Proxy.on_policy_change": "Envoy drains the connections of a filter chain that changed, whatever is asked",
}
"""Fields that Envoy is not told and that refuse a slice, as ``Type.field``, with the reason."""


def types_of(hint: object) -> set[type[msgspec.Struct]]:
    """All struct types that a type hint leads to, through unions, tuples and fields."""
    found: set[type[msgspec.Struct]] = set()
    queue = [hint]
    while queue:
        one = queue.pop()
        if isinstance(one, types.UnionType) or typing.get_origin(one) is not None:
            queue.extend(typing.get_args(one))
        elif isinstance(one, type) and issubclass(one, msgspec.Struct) and one not in found and one is not SourceRef:
            found.add(one)
            queue.extend(typing.get_type_hints(one).values())
    return found


def test_every_field_that_a_slice_can_have_is_translated_or_refused_by_name() -> None:
    asked = {f"{kind.__name__}.{name}" for kind in types_of(Section) for name in kind.__struct_fields__}
    known = {f"{kind.__name__}.{name}" for kind, names in KNOWN.items() for name in names.split()}
    assert asked - known == set(REFUSED), (
        "translate them in runtime/envoy and name them in fields.py, or refuse them here"
    )
    assert known <= asked


def test_a_field_that_is_not_known_refuses_the_slice_unless_it_holds_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(fields._known, HeaderEdits, frozenset({"remove"}))
    require_known(HeaderEdits(remove=("x",)))
    with pytest.raises(TranslationError, match=r"HeaderEdits\.set"):
        require_known((HeaderEdits(set=(("x", "y"),)),))


class Novel(msgspec.Struct, frozen=True):
    """A type that nobody has translated."""


def test_a_type_that_is_not_known_refuses_the_slice() -> None:
    with pytest.raises(TranslationError, match="Novel"):
        require_known(Novel())
