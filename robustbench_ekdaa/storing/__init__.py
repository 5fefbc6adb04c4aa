"""The results store of a run folder, and the outcomes that it holds."""
