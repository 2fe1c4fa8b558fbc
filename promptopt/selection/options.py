"""The limits that the options of several selectors share."""

from __future__ import annotations

from ..errors import ConfigError


def check_bandit(
    selector: str, *, delta: float, share: float, first: int | None, block: int, batch: int
) -> None:
    """Raise ConfigError if an option of a best-arm identification is out of range."""
    if not 0 < delta < 1:
        raise ConfigError(f"{selector}.delta", "must be between 0 and 1", got=delta)
    check_share(selector, share)
    if first is not None and first < 2:
        raise ConfigError(f"{selector}.first", "must be at least 2, to see any noise", got=first)
    if block < 1 or batch < 1:
        raise ConfigError(selector, "block and batch must be at least 1", got=(block, batch))


def check_halving(selector: str, eta: float, first: int | None) -> None:
    """Raise ConfigError if an option of successive halving is out of range."""
    if not eta > 1:
        raise ConfigError(f"{selector}.eta", "must be above 1", got=eta)
    check_first(selector, first)


def check_share(selector: str, share: float) -> None:
    """Raise ConfigError unless it is a share of the grid."""
    if not 0 < share <= 1:
        raise ConfigError(f"{selector}.share", "must be above 0 and at most 1", got=share)


def check_first(selector: str, first: int | None) -> None:
    """Raise ConfigError unless a first look has a row."""
    if first is not None and first < 1:
        raise ConfigError(f"{selector}.first", "must be at least 1", got=first)
