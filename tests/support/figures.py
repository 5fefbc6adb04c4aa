"""What a figure says and where."""

LONG = "$5_{ or $6: a learning rule whose title somebody made very long indeed"  # would be broken mathematics


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))]


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)
