"""The dashboard: a local web page over runs, and the same as a static site (``autointerp dashboard``)."""

from autointerp.dashboard.export import export_site
from autointerp.dashboard.run import Options, Run, open_runs
from autointerp.dashboard.server import make_app

__all__ = ["Options", "Run", "export_site", "make_app", "open_runs"]
