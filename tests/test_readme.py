"""The README's example is the file that `init` writes, so that neither can drift."""

import re
from pathlib import Path

import pytest

import robustbench_ekdaa.template as template

README = Path(__file__).parent.parent / "README.md"


def test_the_readmes_rule_is_the_templates():
    (shown,) = re.findall(r"```python\n# models/my_rule.py\n(.*?)```", README.read_text(), re.DOTALL)
    written = (Path(template.__file__).parent / "models" / "my_rule.py").read_text()
    assert written.split('"""', 2)[2].strip() == shown.strip()


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!http)[^)]+)\)", README.read_text()))
def test_the_readmes_links_lead_somewhere(target):
    assert (README.parent / target).exists()
