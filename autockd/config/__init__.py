"""Study files: what they may say, the search space, and how they are read. Imports neither torch nor Ray."""

from autockd.config.loading import load_study, parse_study
from autockd.config.schema import StudyConfig
from autockd.config.trial import TrialConfig, baseline_config, trial_config

__all__ = ["StudyConfig", "TrialConfig", "baseline_config", "load_study", "parse_study", "trial_config"]
