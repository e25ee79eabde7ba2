"""What a client asks of providers in a query: resources, traits, aggregates."""

from __future__ import annotations

import re

import msgspec

from pileus.api.schema import UUID_PATTERN
from pileus.errors import Invalid
from pileus.values import whole

BAD_VALUE = "placement.query.bad_value"


class Traits(msgspec.Struct, frozen=True):
    """Of each of `required` a provider has one at least, of `forbidden` none."""

    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        return self.forbidden.union(*self.required)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Resources that one provider is to give, and what is asked of it."""

    resources: dict[str, int] = {}
    traits: Traits = Traits()
    in_tree: str | None = None
    in_aggregate: bool = False


def resources(text: str) -> dict[str, int]:
    """ "VCPU:2,MEMORY_MB:1024" as amounts by resource class.

    Raises:
        Invalid: it is not of this form.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        name, colon, amount = part.partition(":")
        if not colon or ":" in amount or not name:
            raise Invalid(
                "Badly formed resources parameter. Expected resources query string parameter in form: "
                f"?resources=VCPU:2,MEMORY_MB:1024. Got: {part or 'empty string'}."
            )
        try:
            found[name] = whole(amount)
        except ValueError:
            raise Invalid(f"Requested resource {name} expected positive integer amount. Got: {amount}.") from None
        if found[name] < 1:
            raise Invalid(f"Requested resource {name} requires amount >= 1. Got: {amount}.")
    return found


def traits(values: list[str], may_forbid: bool, may_choose: bool) -> Traits:
    """Values of `required`: "A,!B", or "in:A,B" for one of them.

    Args:
        may_forbid: whether "!" has its meaning (1.22).
        may_choose: whether "in:" has, and every value counts, not the last one only (1.39).

    Raises:
        Invalid: a value is not of these forms.
    """
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values if may_choose else values[-1:]:
        if value.startswith("in:"):
            required.append(_choice(value, may_choose))
            continue
        names = [name.strip() for name in value.split(",")]
        banned = {name.lstrip("!") for name in names if name.startswith("!")}
        if "" in banned or "" in names or (banned and not may_forbid):
            form = "HW_CPU_X86_VMX,!CUSTOM_MAGIC" if may_forbid else "HW_CPU_X86_VMX,CUSTOM_MAGIC"
            raise _bad(f"Expected 'required' parameter value of the form: {form}. Got: {value}")
        forbidden |= banned
        required += [frozenset({name}) for name in names if not name.startswith("!")]
    return Traits(tuple(required), frozenset(forbidden))


def _choice(value: str, may_choose: bool) -> frozenset[str]:
    form = "The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC'"
    names = frozenset(name.strip() for name in value[3:].split(","))
    if not may_choose:
        raise _bad(f"{form} only supported since microversion 1.39. Got: {value}")
    if "" in names:
        raise _bad(f"{form} was expected. Got an empty trait in: {value}")
    if any(name.startswith("!") for name in names):
        raise _bad(f"{form} does not support forbidden traits. Got: {value}")
    return names


def needs_aggregate(values: list[str], may_repeat: bool, may_forbid: bool) -> bool:
    """Whether values of `member_of` ask for membership in an aggregate; forbidding one asks for nothing here.

    Args:
        may_repeat: whether several values are allowed (1.24); may_forbid: whether "!" is (1.32).

    Raises:
        Invalid: a value is not a UUID, or not in:UUID,UUID.
    """
    if len(values) > 1 and not may_repeat:
        raise Invalid("Multiple member_of parameters are not supported")
    needed = False
    for value in values:
        plain = value.removeprefix("!")
        names = plain[3:].split(",") if plain.startswith("in:") else [plain]
        if plain != value and not may_forbid:
            raise Invalid("Forbidden member_of parameters are not supported in the specified microversion")
        if "," in plain and not plain.startswith("in:"):
            raise Invalid(
                "Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the "
                f"valid microversion. Got: {value}"
            )
        for name in names:
            if not re.match(UUID_PATTERN, name):
                raise _bad(f"Expected 'member_of' parameter to contain valid UUID(s). Got: {name}")
        needed |= plain == value
    return needed


def _bad(problem: str) -> Invalid:
    return Invalid(f"Invalid query string parameters: {problem}", BAD_VALUE)
