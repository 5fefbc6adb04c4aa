"""Draw the error path of every learning rule: `python docs/img/draw_learning_rules.py` writes rule-NAME.svg beside it.

One grammar for all pictures: the forward pass runs above, from the image to the answer; what teaches runs below. A
dashed line is fixed and random, a full one is learned or carries weights over; all that teaches has one colour.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

INK, FAINT, TEACH, PAPER = "#334155", "#94a3b8", "#c2410c", "#ffffff"
WIDTH, HEIGHT = 660, 190
TOP = 58  # height of the forward lane
BOX_W, BOX_H = 74, 34
PLACES = {"x": 42, "1": 158, "2": 284, "3": 410, "y": 520, "e": 612}
NAMES = {"1": "block 1", "2": "block 2", "3": "readout"}
FONT = "font-family=\"'Helvetica Neue', Helvetica, Arial, sans-serif\""


class Picture:
    """Shapes on one canvas."""

    def __init__(self, title: str) -> None:
        self.title, self.parts = title, []

    def text(self, x: float, y: float, words: str, size: float = 13, colour: str = INK, anchor: str = "middle") -> None:
        """Write words; `_` and `^` put the next character, or a {group}, below or above the line."""
        spans, level, i = "", 0, 0
        while i < len(words):
            if words[i] in "_^" and i + 1 < len(words):
                up = words[i] == "^"
                end = words.index("}", i) if words[i + 1] == "{" else i + 2
                part = words[i + 2 : end] if words[i + 1] == "{" else words[i + 1]
                shift = -0.38 * size if up else 0.28 * size
                spans += f'<tspan dy="{shift - level:.1f}" font-size="{0.72 * size:.1f}">{part}</tspan>'
                level, i = shift, end + (words[i + 1] == "{")
            else:
                # A space that starts a tspan would be lost; one that does not break is kept.
                kept = "\u00a0" if words[i] == " " else words[i]
                spans += f'<tspan dy="{-level:.1f}">{kept}</tspan>' if level else words[i]
                level, i = 0, i + 1
        self.parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" {FONT}>{spans}</text>'
        )

    def box(
        self, x: float, y: float, words: str, colour: str = INK, fill: str = "#f1f5f9", width: float = BOX_W
    ) -> None:
        """Draw a rounded box with words in it, centred on a point."""
        self.parts.append(
            f'<rect x="{x - width / 2}" y="{y - BOX_H / 2}" width="{width}" height="{BOX_H}" rx="7" '
            f'fill="{fill}" stroke="{colour}" stroke-width="1.4"/>'
        )
        self.text(x, y + 4.5, words, colour=colour)

    def disc(self, x: float, y: float, words: str, radius: float = 15) -> None:
        """Draw a disc of the teaching colour with words in it."""
        self.parts.append(
            f'<circle cx="{x}" cy="{y}" r="{radius}" fill="#fff7ed" stroke="{TEACH}" stroke-width="1.4"/>'
        )
        self.text(x, y + 4, words, 12.5, TEACH)

    def line(
        self, path: str, *, teach: bool = True, dashed: bool = False, head: bool = True, width: float = 1.7
    ) -> None:
        """Draw a path with an arrow head."""
        colour, marker = (TEACH, "teach") if teach else (INK, "ink")
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        end = f' marker-end="url(#{marker})"' if head else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}{end}/>')

    def forward(self, *, label: bool = False, second: str | None = None) -> None:
        """Draw the lane that all pictures share: image, two blocks, readout, answer, and the error beside it."""
        stops = ["x", "1", "2", "3", "y"]
        for left, right in pairwise(stops):
            start = PLACES[left] + (16 if left == "x" else BOX_W / 2)
            end = PLACES[right] - (12 if right == "y" else BOX_W / 2) - 7
            self.line(f"M {start} {TOP} H {end}", teach=False, width=1.5)
        self.text(PLACES["x"], TOP + 5, "x", 16)
        for place, name in NAMES.items():
            self.box(PLACES[place], TOP, name)
        self.text(PLACES["y"], TOP + 5, "p", 16)
        for place, name in (("1", "W_1"), ("2", "W_2"), ("3", "W_3")):
            self.text(PLACES[place], TOP - 25, name, 12, FAINT)
        if label:
            self.text(PLACES["e"], TOP + 5, "label y", 14, TEACH)
        else:
            self.line(f"M {PLACES['y'] + 12} {TOP} H {PLACES['e'] - 44}", teach=False, width=1.5)
            self.text(PLACES["e"], TOP + 5, "e = p − y", 14, TEACH)

    def svg(self) -> str:
        """Return the picture as a file's text."""
        heads = "".join(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M 0 0.8 L 9 5 L 0 9.2 z" fill="{colour}"/></marker>'
            for name, colour in (("teach", TEACH), ("ink", INK))
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'role="img"><title>{self.title}</title><defs>{heads}</defs>'
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="{PAPER}"/>\n' + "\n".join(self.parts) + "\n</svg>\n"
        )


LANE = 132  # height of the teaching lane
INTO = TOP + BOX_H / 2 + 5  # where an arrow into a box from below ends


def back_through(carrier: str, *, dashed: bool = False) -> Callable[[Picture], None]:
    """The error goes back block by block, through what `carrier` names."""

    def draw(picture: Picture) -> None:
        picture.forward()
        picture.line(f"M {PLACES['e']} {TOP + 14} V {LANE} H {PLACES['3'] + 22}", head=True)
        for place in "321":
            picture.disc(PLACES[place], LANE, "δ_" + place)
            picture.line(f"M {PLACES[place]} {LANE - 15} V {INTO}")
        for right, left in (("3", "2"), ("2", "1")):
            picture.line(f"M {PLACES[right] - 17} {LANE} H {PLACES[left] + 23}", dashed=dashed)
            middle = (PLACES[right] + PLACES[left]) / 2
            picture.text(middle + 2, LANE + 20, carrier.replace("#", right), 13, TEACH)

    return draw


def learned_feedback(picture: Picture) -> None:
    """Kolen-Pollack: the way back is drawn full, and gets its weight's update."""
    back_through("B_#")(picture)
    for right, left in (("3", "2"), ("2", "1")):
        middle = (PLACES[right] + PLACES[left]) / 2
        picture.text(middle + 2, LANE + 40, f"dB_{right} = dW_{right}", 12, FAINT)


def direct(source: str) -> Callable[[Picture], None]:
    """Every block hears the output error, or the label, by a line of its own."""

    def draw(picture: Picture) -> None:
        picture.forward(label=source == "y")
        start = PLACES["e"]
        for place, depth, shift in (("2", 118, 0), ("1", 154, 9)):
            picture.line(f"M {start + shift} {TOP + 14} V {depth} H {PLACES[place]} V {INTO}", dashed=True)
            picture.text(PLACES[place] + 62, depth + 17, f"B_{place} {source}", 13, TEACH)
        picture.line(f"M {start - 9} {TOP + 14} V 92 H {PLACES['3']} V {INTO}")
        if source == "y":
            picture.text((PLACES["3"] + start) / 2, 108, "p − y", 13, TEACH)

    return draw


def local(picture: Picture) -> None:
    """Every block has a head of its own; nothing comes from above."""
    picture.forward()
    for place in "12":
        picture.box(PLACES[place], LANE, f"A_{place}, G_{place}", TEACH, "#fff7ed", 64)
        picture.line(f"M {PLACES[place] - 13} {TOP + BOX_H / 2 + 2} V {LANE - BOX_H / 2 - 6}", teach=False, width=1.4)
        picture.line(f"M {PLACES[place] + 13} {LANE - BOX_H / 2 - 2} V {INTO}")
        picture.line(f"M {PLACES[place] + 72} {LANE} H {PLACES[place] + 38}")
        picture.text(PLACES[place] + 76, LANE + 4.5, "y", 14, TEACH, "start")
        cut = PLACES[place] + 63
        picture.line(f"M {cut - 5} {TOP - 9} L {cut + 3} {TOP + 9}", head=False)
        picture.line(f"M {cut + 1} {TOP - 9} L {cut + 9} {TOP + 9}", head=False)
    picture.line(f"M {PLACES['e']} {TOP + 14} V {LANE} H {PLACES['3']} V {INTO}")
    picture.text((PLACES["1"] + PLACES["2"]) / 2 + 4, LANE + 42, "local losses; no error crosses the cuts", 12, FAINT)


def beliefs(picture: Picture) -> None:
    """Predictive coding: beliefs and errors at every layer, relaxing over steps."""
    picture.forward()
    picture.line(f"M {PLACES['e']} {TOP + 14} V {LANE} H {PLACES['3'] + 22}")
    for place in "321":
        picture.disc(PLACES[place], LANE, "ε_" + place)
        picture.line(f"M {PLACES[place]} {LANE - 15} V {INTO}")
        if place != "3":
            x = PLACES[place]
            picture.line(f"M {x - 9} {LANE + 14} C {x - 34} {LANE + 44} {x + 34} {LANE + 44} {x + 11} {LANE + 17}")
    for right, left in (("3", "2"), ("2", "1")):
        picture.line(f"M {PLACES[right] - 17} {LANE} H {PLACES[left] + 23}")
        picture.text((PLACES[right] + PLACES[left]) / 2 + 2, LANE - 9, f"η W_{right}^T", 13, TEACH)
    picture.text((PLACES["2"] + PLACES["3"]) / 2 + 12, LANE + 38, "1 − η, step after step", 12, FAINT)


def second_pass(picture: Picture) -> None:
    """PEPITA: the error is added to the image, and a second pass is compared with the first."""
    stops = {"x": 42, "1": 214, "3": 386, "y": 510, "e": 612}
    for height, names in ((TOP - 10, ("x", "z_1", "p")), (TOP + 56, ("x + F e", "z̄_1", ""))):
        bar = height > TOP
        for left, right in (("x", "1"), ("1", "3"), ("3", "y")):
            if bar and right == "y":
                continue
            start = stops[left] + (16 if left == "x" else BOX_W / 2) + (16 if bar and left == "x" else 0)
            end = stops[right] - (12 if right == "y" else BOX_W / 2) - 7
            picture.line(f"M {start} {height} H {end}", teach=bar, width=1.5)
        picture.text(stops["x"] + (4 if bar else 0), height + 5, names[0], 14 if bar else 16, TEACH if bar else INK)
        for place, name in (("1", "hidden"), ("3", "readout")):
            picture.box(stops[place], height, name, TEACH if bar else INK, "#fff7ed" if bar else "#f1f5f9")
        picture.text((stops["1"] + stops["3"]) / 2 - 4, height - 7, names[1], 13, TEACH if bar else INK)
        picture.text(stops["y"], height + 5, names[2], 16)
    picture.line(f"M {stops['y'] + 12} {TOP - 10} H {stops['e'] - 44}", teach=False, width=1.5)
    picture.text(stops["e"], TOP - 5, "e = p − y", 14, TEACH)
    picture.line(f"M {stops['e']} {TOP + 6} V 164 H {stops['x'] + 2} V {TOP + 72}", dashed=True)
    picture.text(300, 182, "F", 14, TEACH)
    picture.text(470, TOP + 61, "z_1 − z̄_1 teaches hidden,", 12, FAINT, "start")
    picture.text(470, TOP + 77, "e teaches the readout", 12, FAINT, "start")


def targets(picture: Picture, *, upsampled: bool = False) -> None:
    """EKDAA: error kernels carry the error down to displace targets."""
    picture.forward()
    picture.line(f"M {PLACES['e']} {TOP + 14} V {LANE} H {PLACES['3'] + 22}")
    picture.disc(PLACES["3"], LANE, "e_3")
    picture.line(f"M {PLACES['3']} {LANE - 15} V {INTO}")
    for right, left in (("3", "2"), ("2", "1")):
        x = PLACES[left]
        picture.disc(x + 24, LANE, "t_" + left)
        picture.disc(x - 24, LANE, "e_" + left)
        picture.line(f"M {x + 8} {LANE} H {x - 2}", width=1.5)
        picture.line(f"M {x - 24} {LANE - 15} V {INTO}")
        picture.line(f"M {x + 24} {TOP + BOX_H / 2 + 2} V {LANE - 21}", teach=False, width=1.4)
        picture.text(x + 34, (TOP + LANE) / 2 + 8, f"h_{left}", 12, FAINT, "start")
        picture.line(f"M {PLACES[right] - (17 if right == '3' else 41)} {LANE} H {x + 47}")
        start = PLACES[right] - (17 if right == "3" else 41)
        picture.text((start + x + 42) / 2, LANE + 20, f"E_{right}", 13, TEACH)
        note = "upsampled" if upsampled else f"dE_{right} = γ dW_{right}"
        picture.text((start + x + 42) / 2, LANE + 40, note, 12, FAINT)


def stepped(picture: Picture) -> None:
    """Straight-through: backprop with a stand-in for a derivative that is zero."""
    back_through("W_#^T")(picture)
    for place in "12":
        picture.text(PLACES[place] + 12, (TOP + LANE) / 2 + 9, f"· g(h_{place})", 12, FAINT, "start")


def control(picture: Picture) -> None:
    """Frozen: the error stops at the readout."""
    picture.forward()
    picture.line(f"M {PLACES['e']} {TOP + 14} V {LANE} H {PLACES['3']} V {INTO}")
    for place in "12":
        picture.text(PLACES[place], TOP + 42, "random, for good", 12, FAINT)


PICTURES: dict[str, tuple[str, Callable[[Picture], None]]] = {
    "backprop": ("Backprop: the error returns through the weights' transposes", back_through("W_#^T")),
    "straight-through": ("Straight-through: backprop with a stand-in for the derivative", stepped),
    "fa": ("Feedback alignment: the error returns through fixed random feedback", back_through("B_#", dashed=True)),
    "sign-symmetry": ("Sign-symmetry: feedback with the weights' signs", back_through("|M_#| sign W_#")),
    "kolen-pollack": ("Kolen-Pollack: feedback that learns as the weights do", learned_feedback),
    "dfa": ("Direct feedback alignment: the output error reaches every block directly", direct("e")),
    "drtp": ("Direct random target projection: the label reaches every block directly", direct("y")),
    "predsim": ("Local error signals: every block learns from losses of its own", local),
    "predictive-coding": ("Predictive coding: prediction errors relax, then weights learn", beliefs),
    "pepita": ("PEPITA: a second forward pass on a changed input", second_pass),
    "ekdaa": ("EKDAA: learned error kernels move targets, activations follow", targets),
    "ekdaa-release": (
        "EKDAA as released: targets are upsampled through pooling",
        lambda picture: targets(picture, upsampled=True),
    ),
    "frozen": ("The frozen control: only the readout learns", control),
}


def main() -> None:
    """Write all pictures."""
    for name, (title, draw) in PICTURES.items():
        picture = Picture(title)
        draw(picture)
        (Path(__file__).parent / f"rule-{name}.svg").write_text(picture.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
