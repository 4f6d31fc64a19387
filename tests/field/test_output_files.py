"""What `tfm run -o` must not lose: the input, the work of another run, the name of what failed."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.runtime.commands.resumable_output import Output, journal_of, open_output, part_of
from tfm.runtime.errors import TfmError

needs_posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
TEXT = "我爱你。\n我爱你。\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.write_text(TEXT, "utf-8")
    return path


@needs_posix
@pytest.mark.parametrize("kind", ["same", "symlink", "hard link", "part", "journal"])
def test_the_input_is_not_overwritten(source: Path, tmp_path: Path, kind: str) -> None:
    output = {"same": source}.get(kind, tmp_path / "out")
    if kind == "symlink":
        output.symlink_to(source)
    elif kind == "hard link":
        output.hardlink_to(source)
    elif kind in ("part", "journal"):
        source = source.rename(part_of(output) if kind == "part" else journal_of(output))
    status, stdout, stderr = tfm("run", "-i", str(source), "-o", str(output))
    assert (status, stdout) == (1, "")
    assert "is read, and would be overwritten: choose another output" in stderr
    assert source.read_text("utf-8") == TEXT


@needs_posix
def test_stdin_and_stdout_of_the_shell_are_looked_at_too(source: Path, tmp_path: Path) -> None:
    program = f"'{sys.executable}' -m tfm.runtime run"
    for command in (
        f"{program} -o '{source}' < '{source}'",
        f"{program} >> '{source}' < '{source}'",
    ):
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert "read" in done.stderr and done.stderr.count("\n") == 1
        assert source.read_text("utf-8") == TEXT


@needs_posix
def test_a_link_as_output_stays_one(source: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    assert tfm("run", "-i", str(source), "-o", str(link))[0] == 0
    assert link.is_symlink() and target.read_text("utf-8").count("love") == 2


def test_two_runs_do_not_write_one_file(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ("run", "-i", str(source), "-o", str(output))
    with open_output(output, {}) as first:
        first.write("first")
        first.commit(["one"])
        for options in ((), ("--resume",)):
            status, _, stderr = tfm(*arguments, *options)
            assert status == 1
            assert stderr == (
                f"Error: {part_of(output)} is being written by another `tfm run`: wait for it, or"
                " choose another output\n"
            )
    assert output.read_text() == "first\n"
    assert tfm(*arguments)[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


@needs_posix
def test_processes_at_once_give_one_whole_file_and_clear_errors(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tfm.runtime.commands.resumable_output import open_output\n"
        "from tfm.runtime.errors import TfmError\n"
        "wrote = 0\n"
        "for turn in range(60):\n"
        "    try:\n"
        "        with open_output(Path(sys.argv[1])) as output:\n"
        "            for line in range(20): output.write(sys.argv[2])\n"
        "            output.commit(['x'])\n"
        "            wrote += 1\n"
        "    except TfmError as error:\n"
        "        assert 'another `tfm run`' in str(error), error\n"
        "print(wrote)\n"
    )
    output = tmp_path / "out"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(output), name], stdout=subprocess.PIPE)
        for name in ("a", "b", "c")
    ]
    wrote = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert min(wrote) >= 0 and max(wrote) > 0
    assert output.read_text() in {f"{name}\n" * 20 for name in "abc"}
    assert os.listdir(tmp_path) == ["out"]


@needs_posix
def test_a_full_disk_names_the_file_and_keeps_what_was_done(source: Path, tmp_path: Path) -> None:
    import resource
    import signal

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    output = tmp_path / "out"
    source.write_text("我爱你。\n" * 300, "utf-8")
    command = [sys.executable, "-m", "tfm.runtime", "run", "--beam-size", "1"]
    done = subprocess.run(
        [*command, "-i", str(source), "-o", str(output)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=limit,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"Error: {part_of(output)}: File too large"
    assert "Traceback" not in done.stderr
    assert {"in"} <= set(os.listdir(tmp_path)) <= {"in", "out.part", "out.part.json"}


def test_a_failing_write_has_a_name(tmp_path: Path) -> None:
    class Full:
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught, open_output(tmp_path / "out"):
        Output(Full()).commit(["x"])  # type: ignore[arg-type]
    assert caught.value.filename == str(part_of(tmp_path / "out"))
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_said_before_the_work(tmp_path: Path) -> None:
    output = tmp_path / "none" / "out"
    status, _, stderr = tfm("run", "x", "-o", str(output))
    assert (status, stderr) == (
        1,
        f"Error: {output}: there is no folder {output.parent}; make it first\n",
    )


@pytest.mark.parametrize("change", ["longer", "shorter", "newer", "none"])
@pytest.mark.parametrize(
    "options", [[], ["--n-best", "2"], ["--pairs"], ["--pairs", "--n-best", "2"]]
)
def test_resume_notices_that_the_input_was_changed(
    source: Path, tmp_path: Path, change: str, options: list[str]
) -> None:
    text = "我爱你。\tx\n" * 3
    source.write_text(text, "utf-8")
    output = tmp_path / "out"
    arguments = ("run", "-i", str(source), "-o", str(output), "--beam-size", "2", *options)
    assert tfm(*arguments)[0] == 0
    before = output.read_bytes()
    changed = {"longer": text + "x\tx\n", "shorter": text[: len(text) // 3]}.get(change, text)
    source.write_text(changed, "utf-8")
    written = output.stat().st_mtime + (5 if change == "newer" else -5)
    os.utime(source, (written, written))
    status, _, stderr = tfm(*arguments, "--resume")
    assert status == (0 if change == "none" else 1)
    assert "is complete" in stderr and "leave out --resume to make it anew" in stderr
    assert ("was changed after it" in stderr) == (change == "newer")
    assert ("has the translations of 3 lines, and" in stderr) == (change in ("longer", "shorter"))
    assert output.read_bytes() == before


def test_resume_of_an_output_without_numbers_as_an_n_best_list(
    source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    arguments = ("run", "-i", str(source), "-o", str(output), "--beam-size", "1")
    assert tfm(*arguments)[0] == 0
    before = output.read_bytes()
    status, _, stderr = tfm(*arguments, "--n-best", "1", "--resume")
    assert status == 1
    assert f"{output} is complete, but its lines have no numbers, as --n-best writes them" in stderr
    assert output.read_bytes() == before


def test_the_name_of_a_file_is_not_translated(source: Path, tmp_path: Path) -> None:
    status, stdout, stderr = tfm("run", str(source))
    assert (status, stdout) == (2, "")
    assert f"{source} is a file: -i {source} translates its lines" in stderr
    assert tfm("run", str(source), "我爱你。")[0] == 0  # with others it may be meant
    with contextlib.chdir(tmp_path):
        assert "in is a file" in tfm("run", "in")[2]


def test_a_model_folder_is_not_translated() -> None:
    from tfm.runtime.bundled import bundled_model

    status, _, stderr = tfm("run", str(bundled_model()), "x")
    assert status == 2
    assert "is a model folder: give it with -m" in stderr


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with contextlib.suppress(TfmError), open_output(tmp_path / "out") as output:
        output.write("half")
        raise TfmError("killed")
    with open_output(tmp_path / "out") as output:
        output.write("whole")
    assert (tmp_path / "out").read_text() == "whole\n"
