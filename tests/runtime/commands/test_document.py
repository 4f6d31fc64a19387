"""`tfm document`: files in, files out, nothing lost on the way."""

import json
from pathlib import Path

import pytest
from helpers.command import tfm

from tfm.runtime import Translator
from tfm.runtime.documents import translate

TEXT = "今天天气很好。我们走吧！\n\n  你好。\n"


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    return path


@pytest.fixture(scope="module")
def expected() -> str:
    return Translator().translate_document(TEXT).text


def test_a_file_to_stdout_and_to_a_file(text_file: Path, expected: str) -> None:
    assert tfm("document", str(text_file)) == (0, expected, "")
    output = text_file.with_name("b.txt")
    assert tfm("document", str(text_file), "-o", str(output)) == (0, "", "")
    assert output.read_text(encoding="utf-8") == expected
    assert sorted(path.name for path in text_file.parent.iterdir()) == ["a.txt", "b.txt"]


def test_stdin(expected: str) -> None:
    assert tfm("document", "-", stdin=TEXT) == (0, expected, "")
    status, stdout, _ = tfm("document", "--format", "html", "-", stdin="<p>我爱你。</p>")
    assert (status, stdout) == (0, "<p>I love you.</p>")


def test_a_folder_of_several_kinds(tmp_path: Path, text_file: Path, expected: str) -> None:
    page = tmp_path / "b.html"
    page.write_text("<p>我爱你。</p>", encoding="utf-8")
    status, _, stderr = tfm("document", str(text_file), str(page), "-o", str(tmp_path / "out"))
    assert (status, stderr) == (0, "")
    assert (tmp_path / "out" / "a.txt").read_text(encoding="utf-8") == expected
    assert (tmp_path / "out" / "b.html").read_text(encoding="utf-8") == "<p>I love you.</p>"


def test_the_other_files_are_translated_when_one_cannot_be(tmp_path: Path, text_file: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"\xff\xfex")
    status, _, stderr = tfm("document", str(bad), str(text_file), "-o", str(tmp_path / "out"))
    assert status == 1
    assert stderr.splitlines() == [
        f"Error: {bad}: this is not utf-16-le: name another encoding",
        "Error: 1 of 2 documents were not translated",
    ]
    assert (tmp_path / "out" / "a.txt").exists()


def test_encodings_and_both_languages(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("我爱你。\n".encode("gb18030"))
    assert tfm("document", "--bilingual", "-o", str(tmp_path / "b.txt"), str(path))[0] == 0
    assert (tmp_path / "b.txt").read_bytes() == "我爱你。\nI love you.\n".encode("gb18030")


def test_notes_are_on_stderr(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(
        "1\n00:01 --> 00:02\n坏\n\n2\n00:00:03,000 --> 00:00:04,000\n我爱你。\n", "utf-8"
    )
    status, stdout, stderr = tfm("document", str(path))
    assert (status, stdout.splitlines()[-1]) == (0, "I love you.")
    assert stderr == f"{path}: line 2: no time of a subtitle, left as it is: 00:01 --> 00:02\n"


def test_an_interrupted_run_is_continued(
    text_file: Path, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translate, "CHUNK", 1)
    real, calls = Translator.translate_batch, []

    def interrupted(self: Translator, sentences: list[str], *args: object, **how: object) -> object:
        calls.append(sentences)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, sentences, *args, **how)

    output = text_file.with_name("b.txt")
    part = text_file.with_name("b.txt.part")
    arguments = "document", str(text_file), "-o", str(output)
    monkeypatch.setattr(Translator, "translate_batch", interrupted)
    status, _, stderr = tfm(*arguments)
    assert status == 130
    assert f"What was translated so far is in {part}; --resume continues it" in stderr
    assert not output.exists() and len(part.read_bytes().splitlines()) == 3
    with part.open("ab") as file:
        file.write(b'{"text": "a line that was not fin')  # as after kill -9

    for wrong, message in (
        (["--beam-size", "2"], "was made with --beam-size None, this run has 2"),
        (["--format", "html"], "was made with --format None, this run has html"),
    ):
        status, _, stderr = tfm(*arguments, "--resume", *wrong)
        assert status == 1 and message in stderr

    calls.clear()
    calls += [[], [], []]  # no interruption any more
    assert tfm(*arguments, "--resume") == (0, "", "")
    assert calls[3:] == [["你好。"]]  # only what was left
    assert output.read_text(encoding="utf-8") == expected
    assert not part.exists()


def test_alignments_survive_an_interruption(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text("<p>我住在<b>北京</b>。</p>", encoding="utf-8")
    output, part = tmp_path / "b.html", tmp_path / "b.html.part"
    assert tfm("document", str(page), "-o", str(output))[0] == 0
    whole = output.read_bytes()
    from tfm.runtime.commands import sentence_journal

    translator = Translator()
    translation = translator.translate("我住在北京。", with_alignment=True)
    fields = sentence_journal._as_json(translation)
    again = sentence_journal._of_json(json.loads(json.dumps(fields)))
    assert again.alignment.pairs == translation.alignment.pairs
    assert again.text == translation.text
    assert b"Beijing</b>" in whole and not part.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nothing.txt"], 1, "nothing.txt: No such file or directory"),
        (["a.pdf"], 2, "a.pdf: the name does not say what it is: give a format, one of text, "),
        (["--format", "pdf", "-"], 2, "there is no format 'pdf': choose one of text, "),
        (["a.csv"], 2, "a.csv: --column says what to translate of csv"),
        (["--resume", "-"], 2, "--resume continues a file: it needs -o"),
        (["a.txt", "b.txt"], 2, "several files need -o FOLDER"),
        (["a.txt", "x/a.txt", "-o", "."], 2, "two files would be written as a.txt: rename one"),
        (["-", "b.txt", "-o", "."], 2, "stdin has no name: -o must be a file, for it alone"),
        (["--format", "html", "--bilingual", "-"], 1, "-: html has no bilingual form"),
        (["--n-best", "2", "-"], 2, "No such option"),
        (["--target-prefix", "I", "-"], 2, "No such option"),
        (["--rerank-weight", "0.3", "-"], 2, "it needs --rerank-with MODEL"),
        (["--encoding", "x", "-"], 2, "'x' is no encoding"),
        (["-", "-o", "no/folder.txt"], 1, "no/folder.txt: there is no folder no; make it first"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, stdout, stderr = tfm("document", *arguments, stdin="你好")
    assert (found, stdout) == (status, "")
    assert message in stderr and "Traceback" not in stderr


def test_the_source_is_never_overwritten(text_file: Path) -> None:
    status, _, stderr = tfm("document", str(text_file), "-o", str(text_file))
    assert status == 1 and "would be overwritten" in stderr
    status, _, stderr = tfm("document", str(text_file), "-o", str(text_file.parent))
    assert status == 1 and "would be overwritten" in stderr
    assert text_file.read_text(encoding="utf-8") == TEXT


def test_many_notes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xfd\xe4\n" * 50 + "好。\n".encode() * 60)
    status, _, stderr = tfm("document", str(path))
    assert status == 0
    assert stderr.splitlines()[-1] == f"{path}: and 1 more"
    assert stderr.count("not in this encoding") == 20
