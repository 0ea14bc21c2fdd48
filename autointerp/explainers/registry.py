"""Names of explainers; ``@explainer("name")`` adds one."""

from autointerp.registry import Registry

explainer = Registry("explainer", {"default": "autointerp.explainers.default"})
