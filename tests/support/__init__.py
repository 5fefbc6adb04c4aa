"""What tests of several rooms share and is no fixture: one idea per file."""
