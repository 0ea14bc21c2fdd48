"""Asyncio pipes: explainers and scorers driven over a loader; estimate, run, stream, resume."""

from autointerp.pipeline.estimate import Estimate
from autointerp.pipeline.pipes import drive, flow, pipe
from autointerp.pipeline.run import Pipeline, RunReport

__all__ = ["Estimate", "Pipeline", "RunReport", "drive", "flow", "pipe"]
