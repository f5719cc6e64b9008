"""What only the lessons need: predictions and answers, the museum of faults, the capstone's missions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["lesson", "missions", "museum"])
