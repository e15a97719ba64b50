"""Launchers: exit codes in order, whatever happens to a command, and nothing that outlives the one who launched it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.cores import cores
from common.errors import PodiumError
from common.train.launch import launchers
from common.train.launch.commands import Batch
from common.train.launch.launchers import Joblib, Ray, Serial, Slurm
from common.train.launch.parent_watch import with_lifeline
from common.train.launch.remote_worker import Attended, follow

ROOT = Path(__file__).parents[4]
KILL_ITSELF = "import os; os.kill(os.getpid(), 9)"


def python(code):
    return [sys.executable, "-c", code]


def exits(*codes):
    return [["sh", "-c", f"exit {code}"] for code in codes]


def ray(**options):
    pytest.importorskip("ray")
    return Ray(**options)


def slurm():
    pytest.importorskip("submitit")
    return Slurm(cluster="local", cpus=1, folder="slurm")


LAUNCHERS = [
    pytest.param(Serial, id="serial"),
    pytest.param(lambda: Joblib(jobs=2), id="joblib"),
    pytest.param(ray, id="ray", marks=pytest.mark.slow),
    pytest.param(slurm, id="slurm", marks=pytest.mark.slow),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_codes_come_back_in_order_and_no_crash_keeps_the_others_from_running(launcher, capfd):
    commands = [*exits(0, 3), python(KILL_ITSELF), ["no-such-program"], *exits(1, 0)]
    ended = {}
    codes = launcher()(commands, on_end=ended.__setitem__)
    assert codes == [0, 3, 137, 127, 1, 0] == [ended[number] for number in range(6)]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_command_runs_in_this_folder_with_this_path_and_a_share_of_the_threads(launcher, tmp_path):
    code = "import os, common; print(os.getcwd(), os.environ.get('PODIUM_THREADS'), file=open('{}.txt', 'w'), sep='|')"
    assert launcher()([python(code.format(name)) for name in "ab"]) == [0, 0]
    share = "None" if launcher is Serial else {Joblib: max(1, cores() // 2)}.get(type(launcher()), 1)
    for name in "ab":
        assert (tmp_path / f"{name}.txt").read_text() == f"{tmp_path}|{share}\n"


TOGETHER = """
import os, sys, time
name, other = sys.argv[1:]
open(name, "w").write(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
while not os.path.exists(other):
    time.sleep(0.02)
print(name * 3)
"""


@pytest.mark.parametrize(("here", "cards"), [("0,1", {"0", "1"}), ("3", {"3"}), ("", {""})])
def test_each_job_beside_others_has_one_gpu(here, cards, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", here)
    assert Joblib(jobs=2)([[*python(TOGETHER), *names] for names in ("ab", "ba")]) == [0, 0]
    assert {(tmp_path / name).read_text() for name in "ab"} == cards


def test_as_many_jobs_as_there_are_gpus_unless_a_number_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    running, most = [], []
    code = "import time; time.sleep(0.1)"
    launcher = Joblib()
    launcher(
        [python(code)] * 3,
        on_start=lambda number: (running.append(number), most.append(len(running))),
        on_end=lambda number, code: running.remove(number),
    )
    assert max(most) == 1


def test_what_jobs_beside_each_other_print_comes_through_line_by_line(capsys):
    Joblib(jobs=2)([[*python(TOGETHER), *names] for names in ("ab", "ba")])
    assert sorted(capsys.readouterr().out.splitlines()) == ["aaa", "bbb"]


def test_threads_that_are_set_already_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_THREADS", "7")
    Joblib(jobs=2)([["sh", "-c", "echo $PODIUM_THREADS > a"], ["true"]])
    assert (tmp_path / "a").read_text() == "7\n"


@pytest.mark.parametrize("launcher", [launcher for launcher in LAUNCHERS if launcher.id != "slurm"])
def test_after_a_failure_nothing_more_is_started_if_so_asked(launcher, tmp_path):
    made = launcher() if launcher is not ray else ray(cpus=cores())
    if isinstance(made, Joblib):
        made = Joblib(jobs=1)
    started = []
    commands = [["touch", "a"], *exits(4), *([["touch", "b"]] * 20)]
    codes = made(commands, stop_on_failure=True, on_start=started.append)
    assert codes[:2] == [0, 4] and codes[-1] is None and (tmp_path / "a").exists()
    if not isinstance(made, Ray):  # whose next task may have begun before the failure is known
        assert codes[2:] == [None] * 20 and started == [0, 1] and not (tmp_path / "b").exists()


def test_joblib_runs_as_many_at_a_time_as_asked(tmp_path):
    """Of two commands each waits for the other to begin; the log says when one began (+) and ended (-)."""
    code = """
import sys, time
def note(sign):
    with open("log", "a") as log:
        log.write(sign)
note("+")
while open("log").read().count("+") < 2 * (int(sys.argv[1]) // 2 + 1):
    time.sleep(0.01)
time.sleep(0.1)  # a third would begin now
note("-")
"""
    assert Joblib(jobs=2)([[*python(code), str(number)] for number in range(4)]) == [0] * 4
    log = (tmp_path / "log").read_text()
    together = [log[:end].count("+") - log[:end].count("-") for end in range(len(log) + 1)]
    assert max(together) == 2 and len(log) == 8


# A script that launches two commands; each writes its process id, and what signal it got.
PARENT = """
import sys
from common.train.launch import launchers, parent_watch
from common.train.launch.launchers import Joblib, Ray, Serial, Slurm
launchers.PATIENCE = 20.0
CHILD = '''
import os, signal, sys, time
from common.train.launch import parent_watch
name = sys.argv[1]
def stop(signum, frame):
    open(name + '.signal', 'w').write(str(signum))
    sys.exit(128 + signum)
signal.signal(signal.SIGTERM, stop); signal.signal(signal.SIGINT, stop)
parent_watch.hold()
open(name + '.partial', 'w').write(str(os.getpid()))
os.rename(name + '.partial', name + '.pid')
time.sleep(600)
'''
if __name__ == "__main__":
    codes = {launcher}([[sys.executable, "-c", CHILD, name, parent_watch.FLAG] for name in "abc"])
    open("codes", "w").write(repr(codes))
"""
ENGINES = [
    pytest.param("Serial()", 1, id="serial"),
    pytest.param("Joblib(jobs=2)", 2, id="joblib"),
    pytest.param("Ray(cpus=2)", 1, id="ray", marks=pytest.mark.slow),
    pytest.param("Slurm(cluster='local', cpus=1, folder='slurm')", 3, id="slurm", marks=pytest.mark.slow),
]


def wait_until(true, seconds=500.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def launched(tmp_path):
    """Starts PARENT and waits until as many of its commands run as run at a time."""

    def start(launcher, at_a_time):
        needed = {"Ray": "ray", "Slurm": "submitit"}.get(launcher.split("(")[0])
        if needed:
            pytest.importorskip(needed)
        (tmp_path / "parent.py").write_text(PARENT.replace("{launcher}", launcher))
        process = subprocess.Popen([sys.executable, "parent.py"], start_new_session=True)
        processes.append(process)
        wait_until(lambda: len(list(tmp_path.glob("*.pid"))) >= at_a_time or process.poll() is not None)
        assert process.poll() is None
        return process, [int(path.read_text()) for path in tmp_path.glob("*.pid")]

    processes = []
    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("launcher", "at_a_time"), ENGINES)
def test_a_signal_reaches_what_runs_and_nothing_more_is_started(
    launcher, at_a_time, signum, launched, tmp_path
):
    process, pids = launched(launcher, at_a_time)
    process.send_signal(signum)
    assert process.wait() == 0
    code = 128 + signum
    codes = eval((tmp_path / "codes").read_text())
    assert sorted(codes, key=str) == [code] * at_a_time + [None] * (3 - at_a_time)
    assert {path.read_text() for path in tmp_path.glob("*.signal")} == {str(int(signum))}
    assert not any(map(alive, pids))


@pytest.mark.parametrize(("launcher", "at_a_time"), ENGINES)
def test_no_command_outlives_a_killed_launcher(launcher, at_a_time, launched):
    process, pids = launched(launcher, at_a_time)
    process.kill()
    wait_until(lambda: not any(map(alive, pids)))
    assert pids and not any(map(alive, pids))


def test_a_run_of_ours_ends_when_its_launcher_is_gone():
    """Its stdin is closed: what is left of a pipe whose other end has died."""
    words = with_lifeline([sys.executable, "-m", "common", "train", "competition=calligraphy"])
    assert subprocess.run(words, stdin=subprocess.DEVNULL).returncode == 137
    assert with_lifeline(["python", "-m", "other", "train"]) == ["python", "-m", "other", "train"]
    assert with_lifeline(["python", "-m", "common", "config"])[-1] == "config"


def test_a_command_that_was_asked_to_stop_stops_those_after_it(tmp_path):
    stopped = python("import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(600)")
    assert Serial()([stopped, ["touch", "a"]]) == [143, None]
    assert not (tmp_path / "a").exists()


def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch):
    for package, launcher, name in (
        ("joblib", Joblib, "joblib"),
        ("ray", Ray, "ray"),
        ("submitit", Slurm, "slurm"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(PodiumError, match=f"make install-{name}"):
            launcher()


@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        (Joblib, {"jobs": 0}),
        (Ray, {"cpus": 0}),
        (Ray, {"gpus": -1}),
        (Slurm, {"minutes": 0}),
        (Slurm, {"cluster": "x"}),
    ],
)
def test_options_out_of_range_are_named(launcher, options):
    with pytest.raises(PodiumError, match=f"launcher.{next(iter(options))}"):
        launcher(**options)


def test_every_file_of_the_group_makes_its_launcher():
    import yaml

    from common.config.check import check

    for path in (ROOT / "conf" / "launcher").glob("*.yaml"):
        part = yaml.safe_load(path.read_text())
        check({"launcher": part})
        assert path.stem == part["_target_"].rpartition(".")[2].lower()
        assert hasattr(launchers, part["_target_"].rpartition(".")[2])


def test_a_command_that_an_engine_lost_before_it_began_is_told_like_any(tmp_path):
    told: list[tuple[int, ...]] = []
    batch = Batch([["lost"]], False, lambda number: told.append((number,)), lambda *end: told.append(end))
    follow(batch, tmp_path, [Attended(done=lambda: True, result=lambda: 1, cancel=lambda: None)])
    assert told == [(0,), (0, 1)] and batch.codes == [1]


def test_a_signal_between_two_commands_is_not_lost():
    script = (
        "import os, signal\nfrom common.train.launch.launchers import Serial\n"
        "stop = lambda number, code: os.kill(os.getpid(), signal.SIGTERM)\n"
        "print(Serial()([['true'], ['true']], on_end=stop), flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == -signal.SIGTERM and done.stdout == ""
