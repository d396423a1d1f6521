"""Teacher-assistant KD of Mirzadeh, Farajtabar, Li, Levine, Matsukawa and Ghasemzadeh (AAAI 2020)."""

from __future__ import annotations

from autockd.config.methods import AssistantKD as AssistantKDConfig
from autockd.distillation.methods.base import TeacherRole
from autockd.distillation.methods.kd import HintonKD


class AssistantKD(HintonKD):
    """The loss of `kd`, with the logits of an assistant that has learned from the teacher by `kd` itself."""

    taught_by: TeacherRole = "assistant"

    def __init__(self, config: AssistantKDConfig) -> None:
        super().__init__(config)

    @property
    def conventions(self) -> str:
        """As those of `kd`, and who T is."""
        return f"{super().conventions}; T is the assistant"
