"""What was released, as values: the unit in which the ledger charges.

The laws of this module:

1. The meaning of a stored event never changes. A new mechanism is a new kind with a new
   name; names and fields are never reused.
2. An unknown kind, an unknown or missing field, or a value out of range is refused. An
   event that is not understood cannot be priced, and what cannot be priced is not released.
3. An event says what was done, not what it costs. The price follows from `accounting`,
   and may only fall when a better theorem is known.
4. An event is silent about its neighbouring relation: whoever charges it names one, and
   measures the sensitivity in `noise_multiplier` under it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from protocols.codec import canonical_json, parse_json
from protocols.errors import MalformedMessageError, UnsupportedParameterError

# Outside of this range a price would be absurd or inexact in double precision.
MIN_NOISE_MULTIPLIER = 1e-6
MAX_NOISE_MULTIPLIER = 1e9
MIN_SAMPLE_RATE = 1e-9
MAX_COUNT = 10**9
MAX_EVENTS = 65_536


@dataclass(frozen=True, slots=True)
class Gaussian:
    """`count` releases of vectors with Gaussian noise, each chosen knowing those before.

    Args:
        noise_multiplier: noise standard deviation / L2 sensitivity of one release.
    """

    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        _check_noise_multiplier("gaussian", self.noise_multiplier)
        _check_count("gaussian", "count", self.count)


@dataclass(frozen=True, slots=True)
class SampledGaussian:
    """DP-SGD inside one owner: every step takes each person with probability `sample_rate`.

    Only for batches that nobody but the owner knows. Steps of the joint training are
    `Gaussian`: the other parties know the rows of every step.

    Args:
        noise_multiplier: noise standard deviation / clip norm of one person's gradient.
        sample_rate: probability of the Poisson sampling, independent for each person.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int

    def __post_init__(self) -> None:
        _check_noise_multiplier("sampled_gaussian", self.noise_multiplier)
        _check_float("sampled_gaussian", "sample_rate", self.sample_rate, MIN_SAMPLE_RATE, 1.0)
        _check_count("sampled_gaussian", "steps", self.steps)


@dataclass(frozen=True, slots=True)
class Composed:
    """All of these events over the same persons, in any adaptive order; none is free.

    Compositions inside a composition are unfolded, so that equal releases are equal values.
    """

    events: tuple[DpEvent, ...]

    def __post_init__(self) -> None:
        flat: list[DpEvent] = []
        for event in self.events:
            flat += leaves(event)
        if len(flat) > MAX_EVENTS:
            raise UnsupportedParameterError(
                f"composed: {len(flat)} events, at most {MAX_EVENTS}; merge equal ones by count"
            )
        object.__setattr__(self, "events", tuple(flat))


Single: TypeAlias = Gaussian | SampledGaussian
DpEvent: TypeAlias = Gaussian | SampledGaussian | Composed

_KINDS: dict[str, Callable[..., Single]] = {
    "gaussian": Gaussian,
    "sampled_gaussian": SampledGaussian,
}


def leaves(event: DpEvent) -> tuple[Single, ...]:
    """Return the single events of which `event` is made, in order."""
    match event:
        case Composed(events):
            return tuple(leaf for part in events for leaf in leaves(part))
        case Gaussian() | SampledGaussian():
            return (event,)
    raise UnsupportedParameterError(f"event: {type(event).__name__} is no privacy event")


def event_fields(event: DpEvent) -> dict[str, Any]:
    """Return the JSON object of an event, for messages and log entries that embed one."""
    match event:
        case Gaussian(noise_multiplier, count):
            return {"kind": "gaussian", "noise_multiplier": noise_multiplier, "count": count}
        case SampledGaussian(noise_multiplier, sample_rate, steps):
            return {
                "kind": "sampled_gaussian",
                "noise_multiplier": noise_multiplier,
                "sample_rate": sample_rate,
                "steps": steps,
            }
        case Composed(events):
            return {"kind": "composed", "events": [event_fields(part) for part in events]}


def event_from_fields(value: Any) -> DpEvent:
    """Read the JSON object of an event.

    Raises:
        MalformedMessageError: on anything that `event_fields` does not write.
    """
    if isinstance(value, dict) and value.get("kind") == "composed":
        _check_fields(value, {"kind", "events"})
        parts = value["events"]
        if not isinstance(parts, list) or len(parts) > MAX_EVENTS:
            raise MalformedMessageError(f"event: events is not a list of at most {MAX_EVENTS}")
        return Composed(tuple(_single_from_fields(part) for part in parts))
    return _single_from_fields(value)


def encode_event(event: DpEvent) -> bytes:
    """Write an event as canonical JSON."""
    return canonical_json(event_fields(event))


def decode_event(data: bytes) -> DpEvent:
    """Read an event.

    Raises:
        MalformedMessageError: on any other byte string.
    """
    return event_from_fields(parse_json(data, "event"))


def _single_from_fields(value: Any) -> Single:
    if not isinstance(value, dict):
        raise MalformedMessageError("event: not an object")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise MalformedMessageError(f"event: kind is not one of composed, {', '.join(_KINDS)}")
    make = _KINDS[kind]
    names = [field.name for field in fields(make)]  # type: ignore[arg-type]  # both are dataclasses
    _check_fields(value, {"kind", *names})
    try:
        return make(**{name: _whole_as_float(name, value[name]) for name in names})
    except UnsupportedParameterError as error:
        raise MalformedMessageError(f"event: {error}") from error


def _whole_as_float(name: str, value: Any) -> Any:
    # RFC 8785 writes the double 2.0 as `2`, so a whole number is right where a float is meant.
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and name in {"noise_multiplier", "sample_rate"} and abs(value) <= MAX_COUNT:
        return float(value)
    return value


def _check_fields(value: dict[str, Any], expected: set[str]) -> None:
    if set(value) != expected:
        raise MalformedMessageError(f"event: fields are not exactly {', '.join(sorted(expected))}")


def _check_noise_multiplier(subject: str, value: object) -> None:
    _check_float(subject, "noise_multiplier", value, MIN_NOISE_MULTIPLIER, MAX_NOISE_MULTIPLIER)


def _check_float(subject: str, name: str, value: object, low: float, high: float) -> None:
    # The comparison is false for NaN, which is refused with the rest.
    if not isinstance(value, float) or not math.isfinite(value) or not low <= value <= high:
        raise UnsupportedParameterError(f"{subject}: {name} is not a float in [{low:g}, {high:g}]")


def _check_count(subject: str, name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_COUNT:
        raise UnsupportedParameterError(
            f"{subject}: {name} is not a whole number in 1..{MAX_COUNT}"
        )
