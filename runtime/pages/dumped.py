"""What the parameters of ``/config_dump`` leave of it: ``resource``, ``mask`` and ``name_regex``, as Envoy reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.pages.filters import FilterError, expression

Plain = dict[str, Any]

LISTS = frozenset(
    f"{form}_{kind}"
    for forms, kind in (
        (("static", "dynamic_active", "dynamic_warming"), "clusters"),
        (("static", "dynamic"), "listeners"),
        (("static", "dynamic"), "route_configs"),
        (("static", "dynamic_active", "dynamic_warming"), "secrets"),
        (("static", "dynamic"), "endpoint_configs"),
    )
    for form in forms
)
"""What ``resource`` may name."""

_INNER = ("cluster", "route_config", "endpoint_config", "active_state.listener", "listener", "secret")


class DumpQueryError(Exception):
    """A parameter that cannot be carried out. ``status`` is 404 where it names what is not there."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def asked_for(dump: Plain, query: Mapping[str, str]) -> Plain:
    """The part of a dump that a query asks for; raises DumpQueryError. The dump stays as it is."""
    configs: list[Plain] = dump["configs"]
    if "name_regex" in query:
        configs = _named(configs, query["name_regex"])
    resource = query.get("resource", "")
    if resource:
        configs = _resources(configs, resource)
    if query.get("mask"):
        configs = _masked(configs, query["mask"], of_resource=bool(resource))
    return {"configs": configs} if configs or not resource else {}


def _named(configs: Sequence[Plain], pattern: str) -> list[Plain]:
    """The configurations with only those resources whose whole name the expression fits."""
    try:
        wanted = expression(pattern)
    except FilterError as error:
        raise DumpQueryError(f"Error while parsing name_regex from {pattern}: {error}") from None
    kept = []
    for config in configs:
        lists = {field: value for field, value in config.items() if field in LISTS}
        named = {field: [one for one in value if wanted.fullmatch(_name(one))] for field, value in lists.items()}
        kept.append({**config, **named})
    return kept


def _name(item: Plain) -> str:
    """The name of an element of a list: its own, or that of the resource inside."""
    for path in _INNER:
        inside = item
        for step in path.split("."):
            inside = inside.get(step, {})
        if inside:
            return str(inside.get("name") or inside.get("cluster_name") or item.get("name", ""))
    return str(item.get("name", ""))


def _resources(configs: Sequence[Plain], resource: str) -> list[Plain]:
    """The elements of one list, each with its type."""
    if resource not in LISTS:
        if any(resource in config for config in configs):
            raise DumpQueryError(f"{resource} is not a repeated field. Use ?mask={resource} to get only this field")
        raise DumpQueryError(f"{resource} not found in config dump", 404)
    found = []
    for config in configs:
        kind = _element_kind(config["@type"], resource)
        found += [{"@type": kind, **item} for item in config.get(resource, ())]
    return found


def _element_kind(config: str, resource: str) -> str:
    form = "".join(part.capitalize() for part in resource.split("_")).removesuffix("s")
    for old, new in (("DynamicActiveC", "DynamicC"), ("DynamicWarmingC", "DynamicC"), ("DynamicActiveS", "DynamicS")):
        form = form.replace(old, new)
    return f"{config}.{form}"


# --- masks -------------------------------------------------------------------------------------------------------------------


def _masked(configs: Sequence[Plain], mask: str, *, of_resource: bool) -> list[Plain]:
    """What the paths of a mask (``cluster.name,cluster.type``) leave; what nothing is left of goes."""
    paths = [path.split(".") for path in mask.split(",") if path]
    kept = []
    for config in configs:
        left: Plain = {}
        for path in paths:
            _copy(config, left, path)
        if left:
            kept.append({"@type": config["@type"], **left})
    if not kept and configs:
        how = "used" if of_resource else "applied to any configs"
        raise DumpQueryError(f"FieldMask {mask} could not be successfully {how}.")
    return kept


def _copy(source: Plain, target: Plain, path: Sequence[str]) -> None:
    """Copies what a path leads to. It does not lead through lists (protobuf's field masks do not, either)."""
    step, *rest = path
    value = source.get(step)
    if value is None:
        return
    if not rest:
        target[step] = value
        return
    if not isinstance(value, dict):
        return
    inside: Plain = {"@type": value["@type"]} if "@type" in value else {}
    before = dict(target.get(step, inside))
    _copy(value, before, rest)
    if before != inside:
        target[step] = before
