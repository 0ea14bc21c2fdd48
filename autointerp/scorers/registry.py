"""Names of scorers; ``@scorer("name")`` adds one."""

from autointerp.registry import Registry

scorer = Registry("scorer", {"detection": "autointerp.scorers.detection", "fuzzing": "autointerp.scorers.fuzzing"})
