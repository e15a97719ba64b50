"""What a person types after `make` reaches Python unchanged, and the environment is set up once and whole."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from common.__main__ import VERBS
from common.config.command import command, word
from common.config.overrides import parse
from common.text import quoted

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make as a shell of its own would: without what the make around this test run hands on."""
    kept = {"HOME", "LANG", "PATH", "TMPDIR"}
    environment = {name: value for name, value in os.environ.items() if name in kept} | variables
    return subprocess.run(["make", *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


# --- Arguments ---


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of Python: a program that prints its arguments, one a line, and then the words that Python finds."""
    program = tmp_path_factory.mktemp("a folder, 字") / "echo"
    found = "from common.make_words import words_of_make; print(*words_of_make(), sep=chr(10))"
    program.write_text(
        f"""#!/bin/sh\nprintf '%s\\n' "$@"\n[ -z "$PODIUM_ARGS" ] || exec '{sys.executable}' -c '{found}'\n"""
    )
    program.chmod(0o755)
    return program


def argv(echo: Path, *arguments: str) -> list[str]:
    done = make(*arguments, f"PY={echo}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(path=st.text(" '\"$`=,#%{}[]():;~&|<>*?!@字a/.-").map(str.lstrip).filter(bool))
@example(path="/数据/书法 1,2=3")
@example(path="it's $HOME $(pwd) `pwd` ${ #1")
@example(path="null")
def test_any_path_reaches_hydra_as_it_is(echo: Path, path: str):
    *module, verb, word = argv(echo, "train", f"DATA={path}")
    assert (module, verb) == (["-m", "common"], "train")
    override = OverridesParser.create().parse_override(word)
    assert override.key_or_group == "data.root"
    assert override.value() == path


def test_each_variable_becomes_its_key(echo: Path):
    given = {"COMP": "c", "DATA": "d", "RUN": "r", "INPUT": "i", "OUT": "o", "BENCH": "b", "NEW": "1"}
    given |= {"SWEEP": "s", "MAX": "3", "LAUNCHER": "l"}
    words = argv(echo, "train", *(f"{name}={value}" for name, value in given.items()))[3:]
    assert words == [
        "competition='c'", "data.root='d'", "run_dir='r'", "input='i'", "out='o'", "bench='b'",
        "sweep='s'", "max='3'", "launcher='l'", "new=true",
    ]  # fmt: skip


@pytest.mark.parametrize("given", [True, False])
def test_python_learns_whether_its_environment_is_to_be_left_as_it_is(clone: Path, given: bool):
    program = clone / "bin" / "python3"
    tells = 'case "$*" in "-m common"*) echo "<$PODIUM_PY_IS_GIVEN>" ;; esac\n'
    program.write_text(STAND_IN.replace("case", f"{tells}case", 1))
    words = [f"PY={program}"] if given else ["PYTHON=python3"]
    said = make("train", *words, cwd=clone, PATH=path_of(clone)).stdout
    assert ("<1>" if given else "<>") in said.splitlines()


def test_variables_that_are_not_given_become_nothing(echo: Path):
    assert argv(echo, "train", "DATA=", "NEW=0") == ["-m", "common", "train"]


def test_args_are_words_of_the_shell_and_come_last(echo: Path):
    words = argv(echo, "train", "ARGS=model.name='a b' \"seeds=[1, 2]\"", "COMP=c")
    assert words[3:] == ["competition='c'", "model.name=a b", "seeds=[1, 2]"]
    assert argv(echo, "test", "ARGS=-k ohem")[-2:] == ["-k", "ohem"]


def test_nothing_in_args_is_run_or_replaced(echo: Path):
    words = ["a=$HOME", "b='$(pwd)'", "c=${key}", "d=(64,64)", "e=1;2", "f=a|b", "g=[1,2]", "h=~", "i=#"]
    assert argv(echo, "train", f"ARGS={' '.join(map(shlex.quote, words))}")[3:] == words
    assert argv(echo, "train", "ARGS=d=(64,64) e=$x f=`pwd`")[3:] == ["d=(64,64)", "e=$x", "f=`pwd`"]


@pytest.mark.parametrize("text", ["a='b", 'a="b c', "a=b\\"])
@pytest.mark.parametrize("verb", ["config", "test"])
def test_a_quote_that_is_not_closed_is_said_in_our_words(verb: str, text: str):
    done = make(verb, f"ARGS={text}", f"PY={sys.executable}")
    assert done.returncode != 0
    first = done.stderr.splitlines()[0]
    assert (first.startswith("error: ARGS=") and "closed" in first) or "escapes" in first
    assert "Traceback" not in done.stderr and "Unterminated" not in done.stderr and done.stdout == ""


def test_patterns_of_files_reach_pytest_as_their_names():
    done = make("test", "ARGS=tests/test_docker*.py --collect-only", f"PY={sys.executable}")
    assert "tests/test_dockerfile.py" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("trian", "train"), ("evalute", "evaluate"), ("exprot", "export"), ("tset-slow", "test-slow")],
)
def test_a_mistyped_target_is_refused_with_the_nearest(echo: Path, typed: str, meant: str):
    done = make("train", typed, f"PY={echo}")
    assert done.returncode != 0
    assert f"there is no target {typed}" in done.stderr and f"make {meant}?" in done.stderr
    assert done.stdout == ""
    assert "did you mean" not in make("xyzzy").stderr


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(path=st.text(" '\"$`=,#%{}[]():;~&|<>*?!@字äa/.-", min_size=1).map(str.strip).filter(bool))
@example(path="runs/Übung (1) $HOME 'x' \"y\"")
def test_a_printed_command_can_be_pasted(echo: Path, path: str):
    printed = command(
        "predict", [word("data.root", path), "tta=false"], COMP="c", RUN=path, INPUT=path, OUT=None
    )
    kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    pasted = ["sh", "-c", f"{printed} PY={quoted(echo)}"]
    done = subprocess.run(pasted, cwd=ROOT, env=kept, capture_output=True, text=True)
    assert done.stderr == ""
    given = {word.key: str(word.value) for word in parse(done.stdout.splitlines()[3:])}
    assert given == {"competition": "c", "run_dir": path, "input": path, "data.root": path, "tta": "False"}


@pytest.mark.parametrize("verb", ["train", "test"])
def test_a_line_break_parts_words_of_args(echo: Path, verb: str):
    assert argv(echo, verb, "ARGS=seed=1\nloss=focal")[-2:] == ["seed=1", "loss=focal"]


@pytest.mark.parametrize("verb", re.findall(r"\$\(podium\) (\w+)", MAKEFILE))
def test_each_target_calls_a_verb_that_exists(echo: Path, verb: str):
    assert argv(echo, verb)[:3] == ["-m", "common", verb]
    assert verb in VERBS


def test_a_mistyped_variable_is_refused(echo: Path):
    done = make("train", "COMPETITION=calligraphy", f"PY={echo}")
    assert done.returncode != 0
    assert "COMPETITION= is unknown" in done.stderr
    assert done.stdout == ""


def test_a_failing_command_fails_make_and_says_nothing_more_than_that(tmp_path: Path):
    program = tmp_path / "fails"
    program.write_text("#!/bin/sh\necho its own words >&2\nexit 3\n")
    program.chmod(0o755)
    done = make("train", f"PY={program}")
    assert done.returncode != 0
    first, last = done.stderr.splitlines()
    assert (first, last[:8]) == ("its own words", "make: **")


def test_make_alone_lists_every_target():
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE)
    listed = re.findall(r"^  ([a-z-]+) +\S", make().stdout, flags=re.MULTILINE)
    assert set(targets) <= set(listed)


# --- The environment ---

# In place of Python: makes environments with itself inside, and logs what pip is asked for instead of doing it.
STAND_IN = f"""#!/bin/sh
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; echo venv >>log ;;
  "-m pip "*) echo "$@" >>log; for file; do :; done; cat "$file" >>asked; sleep 0.1; [ ! -e no-network ] ;;
  *sys.version_info*) exit ${{TOO_OLD:-0}} ;;
  --version) echo Python 3.9.2 ;;
  "- "* | *fcntl*) exec '{sys.executable}' "$@" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "environment.sh", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "bin").mkdir()
    for name, code in {"python3": STAND_IN, "uv": "#!/bin/sh\nexit 1\n"}.items():
        (folder / "bin" / name).write_text(code)
        (folder / "bin" / name).chmod(0o755)
    return folder


def path_of(clone: Path) -> str:
    return f"{clone / 'bin'}{os.pathsep}{os.environ['PATH']}"


def setup(clone: Path, *arguments: str, **variables: str) -> list[str]:
    """What the stand-in for Python was asked for during one call of `make doctor`."""
    log = clone / "log"
    log.write_text("")
    done = make("doctor", "PYTHON=python3", *arguments, cwd=clone, PATH=path_of(clone), **variables)
    log.with_name("output").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")
    return log.read_text().splitlines()


@pytest.mark.parametrize("folder", [".venv", "an environment, 字"])
def test_the_environment_is_made_by_the_first_call_alone(clone: Path, folder: str):
    venv, first, second = setup(clone, f"VENV={folder}")
    assert venv == "venv"
    assert "-c constraints.txt" in first
    assert "--no-deps" not in first
    assert "--no-deps -c constraints.txt" in second
    assert setup(clone, f"VENV={folder}") == []


def test_a_half_made_environment_is_made_afresh(clone: Path):
    (clone / "no-network").touch()
    assert len(setup(clone)) == 2  # venv, and the pip that fails
    (clone / ".venv" / "half a package").touch()
    (clone / "no-network").unlink()
    assert setup(clone)[0] == "venv"
    assert not (clone / ".venv" / "half a package").exists()


def test_changed_pins_are_installed_into_the_environment_as_it_stands(clone: Path):
    setup(clone)
    stamp = clone / ".venv" / ".podium"
    os.utime(stamp, (0, 0))
    asked = setup(clone)
    assert len(asked) == 2
    assert "venv" not in asked
    assert setup(clone) == []


def test_an_environment_whose_python_is_gone_is_made_afresh(clone: Path):
    setup(clone)
    python = clone / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(clone / "gone")
    assert setup(clone)[0] == "venv"


def test_an_environment_that_others_made_is_used_and_never_removed(clone: Path):
    (clone / "mine" / "bin").mkdir(parents=True)
    shutil.copy(clone / "bin" / "python3", clone / "mine" / "bin" / "python")
    (clone / "no-network").touch()
    setup(clone, "VENV=mine")
    (clone / "no-network").unlink()
    (clone / "mine" / "my own").touch()
    assert "venv" not in setup(clone, "VENV=mine")
    make("clean", "VENV=mine", cwd=clone)
    assert (clone / "mine" / "my own").exists()


def test_clean_removes_the_environment(clone: Path):
    setup(clone)
    make("clean", cwd=clone)
    assert not (clone / ".venv").exists()


def test_a_python_that_is_too_old_is_named(clone: Path):
    assert setup(clone, TOO_OLD="1") == []
    output = (clone / "output").read_text()
    assert output.startswith("2\n")
    assert "Podium needs Python 3.11, 3.12 or 3.13, and python3 is: Python 3.9.2" in output
    assert "Traceback" not in output


def test_what_is_installed_are_the_requirements_of_pyproject(clone: Path):
    setup(clone)
    asked = (clone / "asked").read_text().splitlines()
    assert {"timm==1.0.31", "pytest", "imaug"} <= set(asked)
    assert "ruff" not in asked


def test_of_two_calls_at_once_one_sets_the_environment_up(clone: Path):
    with ThreadPoolExecutor() as pool:
        done = list(
            pool.map(lambda _: make("doctor", "PYTHON=python3", cwd=clone, PATH=path_of(clone)), range(2))
        )
    assert [call.returncode for call in done] == [0, 0]
    assert len((clone / "log").read_text().splitlines()) == 3  # venv and twice pip
