"""The page without a service: a folder of static files in which the browser computes everything."""

from thorax.web.site import Site, write_site

__all__ = ["Site", "write_site"]
