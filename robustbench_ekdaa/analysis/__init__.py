"""What the outcomes say: metrics, intervals, tidy rows, summaries and comparisons, all without running a model."""
