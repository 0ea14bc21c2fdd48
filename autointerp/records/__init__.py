"""The nouns of the house as frozen dataclasses, and the protocols that other rooms implement."""

from __future__ import annotations

from autointerp.records.features import Example, FeatureRecord, FeatureStatistics, Side, Skipped
from autointerp.records.outcomes import (
    BILLED,
    TRANSIENT,
    Computed,
    Failure,
    NotSent,
    Outcome,
    Response,
    Usage,
    maybe_billed,
)
from autointerp.records.protocols import Capabilities, Client, Explainer, Plan, Scorer
from autointerp.records.requests import (
    ActivationRequest,
    EmbedRequest,
    LocalRequest,
    LogitRequest,
    LossRequest,
    Message,
    Request,
    SteerRequest,
    Task,
    conversation,
)
from autointerp.records.results import Explanation, Score, Trial

__all__ = [
    "BILLED",
    "TRANSIENT",
    "ActivationRequest",
    "Capabilities",
    "Client",
    "Computed",
    "EmbedRequest",
    "Example",
    "Explainer",
    "Explanation",
    "Failure",
    "FeatureRecord",
    "FeatureStatistics",
    "LocalRequest",
    "LogitRequest",
    "LossRequest",
    "Message",
    "NotSent",
    "Outcome",
    "Plan",
    "Request",
    "Response",
    "Score",
    "Scorer",
    "Side",
    "Skipped",
    "SteerRequest",
    "Task",
    "Trial",
    "Usage",
    "conversation",
    "maybe_billed",
]
