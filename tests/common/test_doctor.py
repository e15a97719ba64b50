"""The doctor names what is broken and how to mend it, above all where nothing else runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import cores, doctor
from common.doctor import Finding, check_opencv, check_packages, check_precision, check_threads, examine, show

ROOT = Path(__file__).parents[2]


def test_with_a_broken_torch_the_doctor_still_tells_all_it_knows(tmp_path: Path):
    (tmp_path / "torch.py").write_text(
        "raise OSError('libtorch.so: cannot open shared object file\\nand more')"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "common", "doctor"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert done.returncode == 1
    assert set(lines) == set(doctor.CHECKS)
    assert lines["torch"].startswith("fail  torch")
    assert "OSError: libtorch.so: cannot open shared object file" in lines["torch"]
    assert lines["Python"].startswith("ok")
    assert lines["OpenCV"].startswith("ok")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("states", "code"), [(["ok", "warn"], 0), (["ok", "fail", "warn"], 1)])
def test_only_a_failure_sets_the_exit_code(monkeypatch: pytest.MonkeyPatch, states: list[str], code: int):
    findings = [Finding(state, "found") for state in states]
    checks = {f"check {place}": lambda finding=finding: finding for place, finding in enumerate(findings)}
    monkeypatch.setattr(doctor, "CHECKS", checks)
    assert doctor.main() == code


def test_a_second_opencv_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert check_opencv().state == "ok"
    install(tmp_path, "opencv-python", "4.12.0.88")
    monkeypatch.syspath_prepend(tmp_path)
    finding = check_opencv()
    assert finding.state == "fail"
    assert "pip uninstall opencv-python opencv-python-headless" in finding.mend


def test_another_version_is_a_warning_and_a_missing_package_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert check_packages().state == "ok"
    install(tmp_path, "timm", "0.9.0")
    monkeypatch.syspath_prepend(tmp_path)
    finding = check_packages()
    assert finding.state == "warn"
    assert "timm 0.9.0, not 1.0.31" in finding.found
    monkeypatch.setattr(sys, "path", [])
    finding = examine(check_packages)
    assert finding.state == "fail"
    assert "missing: torch, torchvision" in finding.found


def install(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("limit", "here"), [("max 100000", None), ("50000 100000", 1), ("1000000000 10", None), (None, None)]
)
def test_no_more_cores_count_than_a_container_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str | None, here: int | None
):
    bound = len(os.sched_getaffinity(0))
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    if limit is not None:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert cores.cores() == (here or bound)
    assert ("may use 0.5 cores" in check_threads().found) == (limit == "50000 100000")


def test_a_job_beside_others_counts_its_share(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(cores.SHARE, "1")
    assert cores.cores() == 1
    monkeypatch.setenv(cores.SHARE, "1000000")  # said for a larger host
    assert cores.cores() == len(os.sched_getaffinity(0))
    monkeypatch.delenv(cores.SHARE)


@pytest.mark.parametrize(
    ("visible", "named"), [("0,1", ["0", "1"]), ("", []), ("-1", []), ("GPU-7a, 3", ["GPU-7a", "3"])]
)
def test_gpus_are_those_that_cuda_may_use(monkeypatch: pytest.MonkeyPatch, visible: str, named: list[str]):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cores.gpus() == named


def test_the_doctor_says_which_precisions_this_machine_has(monkeypatch: pytest.MonkeyPatch):
    import torch

    for has in (True, False):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda has=has: has)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        found = check_precision().found
        assert found.startswith("32-true") and ("bf16-mixed" in found) == has


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_jobs_and_the_doctor_count_the_cores_that_this_process_is_bound_to(monkeypatch: pytest.MonkeyPatch):
    from common.train.job import threads

    monkeypatch.delenv("PODIUM_THREADS", raising=False)
    monkeypatch.setattr(doctor, "read_numbers", lambda path: [])
    bound = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(bound)})
    try:
        assert threads({"trainer": {"threads": None}}) == 1
        assert check_threads().found.startswith("1 CPU threads")
    finally:
        os.sched_setaffinity(0, bound)


def test_a_limit_of_max_is_no_limit(tmp_path: Path):
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert doctor.read_numbers(str(tmp_path / "cpu.max")) == [
        100_000
    ]  # a pair is a limit, one number is none
    assert doctor.read_numbers(str(tmp_path / "nothing")) == []


def test_a_pipe_gets_one_plain_line_a_check(capsys: pytest.CaptureFixture[str]):
    show({"fonts": Finding("warn", "none", "install one"), "GPU": Finding("ok", "[none]")})
    assert capsys.readouterr().out == "warn  fonts  none → install one\nok    GPU    [none]\n"
