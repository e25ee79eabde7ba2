"""Microversions: a service's history as data, and the markers that tie a schema or a view to it.

Source: the API special interest group's microversion specification; api-ref compute, Microversions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import microversion_parse

from pileus.errors import Invalid, NotAcceptable
from pileus.jsontypes import Values

Number = tuple[int, int]
Document = object
"""A schema or a body, or a part of one, in which values may be `Marked`."""


@lru_cache(512)
def number(text: str) -> Number:
    """ "2.90" as a pair that compares."""
    major, _, minor = text.partition(".")
    return int(major), int(minor)


class Version:
    """One entry of a history: what a client sees differently from this version on."""

    def __init__(self, name: str, change: str) -> None:
        self.name, self.change, self.number = name, change, number(name)


class History:
    """The versions a service serves, oldest first.

    Args:
        service_type: as in the header: "compute".
        legacy_header: an older header that also selects a version, if the service has one.
        malformed, unacceptable: what a client is told whose version is none, or is not served.
    """

    def __init__(
        self,
        service_type: str,
        versions: Iterable[Version],
        legacy_header: str | None = None,
        *,
        malformed: str = "API Version String {wanted} is of invalid format. Must be of format MajorNum.MinorNum.",
        unacceptable: str = "Version {wanted} is not supported by the API. Minimum is {oldest} and maximum is "
        "{newest}.",
    ) -> None:
        self.versions = list(versions)
        self.malformed, self.unacceptable = malformed, unacceptable
        self.service_type, self.legacy_header = service_type, legacy_header
        self.oldest, self.newest = self.versions[0], self.versions[-1]

    def negotiate(self, headers: Mapping[str, str]) -> Number:
        """The version a request asks for; the oldest when it asks for none.

        Raises:
            Invalid: not a version. NotAcceptable: outside the history.
        """
        legacy = [self.legacy_header] if self.legacy_header else []
        wanted = microversion_parse.get_version(dict(headers), self.service_type, legacy)
        if wanted is None:
            return self.oldest.number
        if wanted == "latest":
            return self.newest.number
        try:
            asked = number(wanted)
        except ValueError:
            raise Invalid(self.malformed.format(wanted=wanted)) from None
        if not self.oldest.number <= asked <= self.newest.number:
            limits = {"oldest": self.oldest.name, "newest": self.newest.name}
            raise NotAcceptable(self.unacceptable.format(wanted=wanted, **limits))
        return asked


class Marked:
    """A value that depends on the microversion: (first, last, value) choices, the first that fits counts."""

    def __init__(self, choices: list[tuple[Number, Number, Document]]) -> None:
        self.choices = choices


ABSENT = object()
_FIRST, _LAST = (0, 0), (999, 999)


def since(version: str, value: Document) -> Marked:
    """`value` from `version` on, absent before."""
    return Marked([(number(version), _LAST, value)])


def until(version: str, value: Document) -> Marked:
    """`value` up to and including `version`, absent after."""
    return Marked([(_FIRST, number(version), value)])


def changed(first: Document, **later: Document) -> Marked:
    """`first`, then other values from versions on: `changed(A, v2_19=B)`."""
    starts = [(_FIRST, first)] + [(number(name[1:].replace("_", ".")), value) for name, value in later.items()]
    ends = [start for start, _ in starts[1:]] + [(_LAST[0] + 1, 0)]
    return Marked([(start, (end[0], end[1] - 1), value) for (start, value), end in zip(starts, ends, strict=True)])


def resolve(value: Document, version: Number) -> Document:
    """A structure with every marked value in it replaced by what it is at `version`; ABSENT ones are left out."""
    if isinstance(value, Marked):
        for first, last, choice in value.choices:
            if first <= version <= last:
                return resolve(choice, version)
        return ABSENT
    if isinstance(value, dict):
        return resolved(value, version)
    if isinstance(value, list):
        return [inner for inner in (resolve(item, version) for item in value) if inner is not ABSENT]
    return value


def resolved(values: Values, version: Number) -> Values:
    """An object at `version`, see `resolve`."""
    pairs = ((key, resolve(inner, version)) for key, inner in values.items())
    return {key: inner for key, inner in pairs if inner is not ABSENT}
