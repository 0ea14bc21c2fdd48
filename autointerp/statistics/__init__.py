"""Pure functions over arrays: intervals, balanced accuracy, enrichment."""
