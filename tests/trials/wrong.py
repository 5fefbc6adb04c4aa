"""Commands that no user could mean: a table of words in places where they are wrong.

A row says which command, with a gap for the word, and which words; each makes one wrong command.
"""

from __future__ import annotations

SWEEP = "sweep --run new --dataset digits --models bp --attacks fgsm --epsilons 0.1 --seeds 1 --images 30 --workers 1"
TRAIN = "train bp --dataset digits --run new --seeds 1 --workers 1"
SCORE = "score images.safetensors --dataset digits --models bp,ek --seeds 1 --run new --workers 1"
IMPORT = "data import mine.npz --name fresh"

LONG = "x" * 300
DIGITS = "9" * 5000
NOT_UTF8 = "\udcff\udcfe"
ESCAPES = "\x1b[31mred"
MARKUP = "[/nope]"
NOT_WHOLE = ("", " ", "abc", "1.5", "nan", "1e3", "0x10", "--", NOT_UTF8)
NOT_POSITIVE = ("0", "-1", DIGITS, *NOT_WHOLE)
NOT_A_NAME = ("", "nope", "../bp", "bp ek", "BP!", LONG, NOT_UTF8, ESCAPES, MARKUP)
NOT_EPSILONS = (
    "", ",", "abc", "-0.1", "nan", "inf", "1e400", "0.1,,0.2", "0.1;0.2", "0.1,0.1", "0:1", "0:1:0", "0:1:-0.1",
    "1:0:0.1", "0:1:1e-9", "0:1e1000000:1e999999", "0:nan:0.1", "0:0.3:0.1:0.1", "1e-13", "0x1", DIGITS, NOT_UTF8,
)  # fmt: skip
NOT_A_FOLDER = ("", "file", "file/deeper", "loop", LONG, f"there/{LONG}")
NOT_AN_OUTPUT = ("", "there", "there/results.sqlite", "there/new", "fifo", "loop", "file/new", LONG)

# (the command, with {} for the word, the words)
TABLE: list[tuple[str, tuple[str, ...]]] = [
    ("{}", ("swep", "", "--nope", "-x", "list models", NOT_UTF8, ESCAPES)),
    ("list {}", ("", "model", "nope", ESCAPES, "--json")),
    ("list models --workspace {}", ("nowhere", "file", "loop", LONG)),
    (f"{SWEEP} --images {{}}", NOT_POSITIVE),
    (f"{SWEEP} --seeds {{}}", (*NOT_POSITIVE, "1000000")),
    (f"{SWEEP} --seed {{}}", ("-1", DIGITS, *NOT_WHOLE)),
    (f"{SWEEP} --batch-size {{}}", NOT_POSITIVE),
    (f"{SWEEP} --workers {{}}", NOT_POSITIVE),
    (f"{SWEEP} --models {{}}", (*NOT_A_NAME, ",")),
    (f"{SWEEP} --surrogates {{}}", NOT_A_NAME),
    (f"{SWEEP} --targets {{}}", NOT_A_NAME),
    (f"{SWEEP} --attacks {{}}", (*NOT_A_NAME, ",", "ens_fgsm")),
    (f"{SWEEP} --dataset {{}}", NOT_A_NAME),
    (f"{SWEEP} --epsilons {{}}", NOT_EPSILONS),
    (f"{SWEEP} --precision {{}}", ("", "half", "float64")),
    (f"{SWEEP} --device {{}}", ("", "tpu", "cuda:99", "cpu:x")),
    (f"{SWEEP} --run {{}}", NOT_A_FOLDER),
    ("sweep {} --run new", ("nowhere.toml", "there", "file", "loop", "mine.npz")),
    (f"{TRAIN} --held-out {{}}", ("-0.1", "0.95", "1", "nan", "abc")),
    (f"{TRAIN} --seeds {{}}", ("0", "-1", "abc", "1000000")),
    (f"{TRAIN} --run {{}}", NOT_A_FOLDER),
    ("train {} --dataset digits --run new", ("nope", "bp nope", "", LONG)),
    (f"{SCORE} --epsilons {{}}", ("0.3", "0.1,0.2,0.3", "abc", "")),
    (f"{SCORE} --norm {{}}", ("l2", "l0", "")),
    (f"{SCORE} --indices {{}}", ("0:4", "5:3", "3-5", "0:99999999999", "-1", "abc", "")),
    (f"{SCORE} --name {{}}", ("", "fgsm", "a b", "../x")),
    (f"{SCORE} --dataset {{}}", ("nope", "")),
    ("score {} --dataset digits --models bp --run new --seeds 1", ("nowhere.npz", "there", "file", "mine.npz")),
    ("export {} --out rows.csv", ("nowhere", "file", "loop", "", "empty", LONG, NOT_UTF8)),
    ("export there --out {}", NOT_AN_OUTPUT),
    ("export there --out rows.csv --format {}", ("", "xls", "CSV.", MARKUP)),
    ("report {} --out page", ("nowhere", "file", "loop", "", "empty")),
    ("report there --out {}", (*NOT_AN_OUTPUT, "file", "models")),
    (f"{IMPORT} --name {{}}", ("", "a b", "../x", ".x", "digits", LONG, NOT_UTF8)),
    (f"{IMPORT} --test-share {{}}", ("-1", "0", "1", "nan", "abc")),
    (f"{IMPORT} --size {{}}", ("0x0", "8", "axb", "8x8", "")),
    ("data import {} --name fresh", ("nowhere.npz", "there", "file", "empty", "loop", "images.safetensors")),
    ("data fetch {}", ("nope", "digits", "")),
    ("check-rule {}", ("nope", "nowhere.py:Rule", "file:Rule", "models:Rule", "", ":")),
    ("check-rule backprop --option {}", ("x", "=1", "nope=1")),
    ("init {}", ("file", "there", "loop", "", "file/deeper", LONG)),
]

# The same in a sweep file: a line that is wrong in one that is right.
LINES = (
    "images = true", "images = 1.5", 'images = "30"', "images = 0", "images = 1979-05-27", "images = [1]",
    "epsilons = []", 'epsilons = "0.1,"', 'epsilons = [true, "0.1"]', "epsilons = [nan]", "epsilons = [[0.1]]",
    "epsilons = [1e-13]", "seeds = -1", "seeds = 1e3", "seed = true", "models = []", 'models = "bp"', "models = [1]",
    'attacks = ["fgsm", 3]', "datasets = {}", 'datasets = ["digits", "nope"]', 'precision = "half"',
    'save_images = "yes"', "nope = 1", "images = ", "images = 30\nimages = 30", f"images = {DIGITS}",
    f"images = {'[' * 100_000}", 'attacks = ["\\u001b[31m"]', "batch_size = inf",
)  # fmt: skip


def wrong_commands() -> list[list[str]]:
    """Return all commands of the table as lists of words."""
    return [[word if part == "{}" else part for part in command.split()] for command, words in TABLE for word in words]
