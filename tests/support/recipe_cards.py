"""A recipe card to fill in."""

RECIPE = """
kind = "recipe"
name = "{name}"
title = "{name}"
[training.default]
epochs = 1
batch_size = 128
optimizer = "{optimizer}"
learning_rate = 0.01
"""
