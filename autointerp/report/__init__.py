"""What a run found: tables (CSV, Parquet), figures, one HTML page."""

from autointerp.report.build import write_report

__all__ = ["write_report"]
