"""Pure functions of a site, worked out once for each site and kept with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar, cast

from phoenix.site.model import Site

T = TypeVar("T")


def once_per_site(function: Callable[[Site], T]) -> Callable[[Site], T]:
    """Cache what `function` returns for a site, for the life of the site.

    A cache of `functools` would keep every site, and compare a new one with all of them. A copy of
    a site with other fields starts without what is kept (`phoenix.site.model.Frozen.__copy__`).

    Args:
        function: pure; what it returns is immutable, since every caller gets the same object.
    """
    key = f"{function.__module__}.{function.__qualname__}"

    @wraps(function)
    def memoized(site: Site) -> T:
        known = site.__dict__
        if key not in known:
            known[key] = function(site)
        return cast(T, known[key])

    return memoized
