"""Are networks trained without backprop harder to fool? A benchmark of adversarial robustness across learning rules."""
