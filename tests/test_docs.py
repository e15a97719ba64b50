"""Commands, links and paths of the README and the pages: each is one that there is."""

import re
import shlex
from pathlib import Path

import pytest

from common.config.compose import compose
from common.config.layers import search_path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("competitions/*/*.md"),
    ]
)
TARGETS = {*re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M)}
RECIPES = {"train", "config", "pack", "prepare", "sweep"}  # targets whose words make a recipe
OWN = {"flowers", "mine"}  # competitions that readers write


def commands(page: Path) -> list[str]:
    """`make …` of blocks and of inline code."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    lines += [code.replace("\n", " ") for code in re.findall(r"`(make [^`]*)`", prose)]
    return [line for line in lines if line.startswith("make ")]


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


def parsed(command: str) -> tuple[str, dict[str, str]]:
    """Target and variables, without the comment and what follows `&&`."""
    words = shlex.split(command.split(" && ")[0], comments=True)
    return words[1], dict(word.split("=", 1) for word in words[2:] if re.match(r"[A-Z]+=", word))


def test_the_pages_have_commands():
    assert len(COMMANDS) > 40 and {"train", "predict", "serve"} <= {
        parsed(command)[0] for command in COMMANDS
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_a_target_with_variables_that_it_takes(command: str):
    target, variables = parsed(command)
    assert target in TARGETS
    makefile = (ROOT / "Makefile").read_text()
    assert not [name for name in variables if not re.search(rf"\b{name}\b", makefile)]


@pytest.mark.parametrize(
    "command",
    [one for one in COMMANDS if parsed(one)[0] in RECIPES and not {"…", "<"} & {*one.split("#")[0]}],
)
def test_a_recipe_composes(command: str):
    _, variables = parsed(command)
    words = [word for word in shlex.split(variables.get("ARGS", "")) if word != "-m" and "seeds=" not in word]
    words = [word for word in words if not word.startswith("launcher.")]
    words = [
        re.sub(r"=([\w.]+),.*", r"=\1", word) if "[" not in word else word for word in words
    ]  # of several values
    competition = variables.get("COMP", "calligraphy")
    if "SWEEP" in variables:
        assert variables["SWEEP"] in search_path(()).options("sweep")
    if competition in OWN:
        return
    assert compose([f"competition={competition}", *words]).competition == competition


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_are_named_are_there(page: Path):
    text = page.read_text(encoding="utf-8")
    named = re.findall(
        r"`((?:common|competitions|conf|tests|benchmarks|docs)/[\w/.-]+\.(?:py|yaml|md))`", text
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not [name for name in missing if not any(own in name for own in OWN)]
