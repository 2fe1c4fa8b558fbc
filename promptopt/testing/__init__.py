"""Checks and a fake model for plug-in authors; every built-in passes them."""

from .model import FakeModel, check_model
from .reward import check_reward
from .searcher import check_searcher
from .selector import check_selector

__all__ = ["FakeModel", "check_model", "check_reward", "check_searcher", "check_selector"]
