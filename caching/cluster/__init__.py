"""The caching stage on a Ray cluster: :func:`cache_on_ray`."""

from caching.cluster.driver import cache_on_ray

__all__ = ["cache_on_ray"]
