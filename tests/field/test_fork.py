"""Processes that fork, spawn or end while a model is loaded: gunicorn, Celery, multiprocessing."""

import os
import sys

import pytest
from helpers.command import python

BEGIN = "import os, sys, threading, time\nfrom tfm.runtime import Translator\n"
FORK_AND_WAIT = """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        print(translator.translate(TEXT).text)
        sys.exit(0)
    print("status", os.waitpid(child, 0)[1])
"""

can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def run(body: str) -> str:
    """Output of a script, which must end in time, with status 0, and quietly."""
    done = python(BEGIN + "TEXT = '我爱你。'\n" + body, PYTHONWARNINGS="ignore")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@can_fork
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("by_steps", [False, True])
def test_a_child_translates_and_ends(threads: int, by_steps: bool) -> None:
    output = run(f"""
if True:
    translator = Translator(intra_threads={threads}, by_steps={by_steps})
    print(translator.translate(TEXT).text)
    {FORK_AND_WAIT}
    print(translator.translate(TEXT).text)
""")
    assert output == "I love you.\nI love you.\nstatus 0\nI love you.\n"


@can_fork
def test_a_child_that_works_in_another_folder() -> None:
    """As daemons and gunicorn's chdir do; the model was named relative to the first one."""
    output = run(f"""
from tfm.runtime.bundled import bundled_model
if True:
    os.chdir(bundled_model().parent)
    translator = Translator(bundled_model().name, intra_threads=2)
    os.chdir("/")
    print(translator.translate(TEXT, no_repeat_ngram_size=3).text)
    {FORK_AND_WAIT}
""")
    assert output == "I love you.\nI love you.\nstatus 0\n"


@can_fork
def test_a_child_of_a_child(threads: int = 2) -> None:
    output = run(f"""
translator = Translator(intra_threads={threads})
for depth in range(3):
    sys.stdout.flush()
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        print("status", status)
        sys.exit(0)
    print(translator.translate(TEXT).text)
""")
    assert output.count("I love you.") == 3
    assert output.count("status 0") == 3


@can_fork
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_while_other_threads_translate(threads: int) -> None:
    output = run(f"""
translator = Translator(intra_threads={threads})
def work():
    while not over:
        translator.translate_batch([TEXT] * 8)
over = False
workers = [threading.Thread(target=work) for _ in range(3)]
for worker in workers: worker.start()
for _ in range(8):
    child = os.fork()
    if child == 0:
        over = True
        os._exit(0 if translator.translate(TEXT).text == "I love you." else 1)
    print("status", os.waitpid(child, 0)[1])
    time.sleep(0.02)
over = True
for worker in workers: worker.join()
""")
    assert output == "status 0\n" * 8


@can_fork
def test_a_fork_while_another_thread_loads_a_graph() -> None:
    output = run("""
translator = Translator(intra_threads=2)
loader = threading.Thread(target=translator.sessions.encode, args=([[5, 3]], 1))
loader.start()
time.sleep(0.005)
child = os.fork()
if child == 0:
    translator.sessions.encode([[5, 3]], 1)
    os._exit(0)
print("status", os.waitpid(child, 0)[1])
loader.join()
""")
    assert output == "status 0\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_translator_goes_to_other_processes(method: str) -> None:
    if sys.platform == "win32" and method != "spawn":
        pytest.skip("Windows only spawns")
    output = run(f"""
import multiprocessing
if __name__ == "__main__":
    translator = Translator(intra_threads=2)
    context = multiprocessing.get_context({method!r})
    with context.Pool(2) as pool:
        results = pool.map(translator.translate, [TEXT] * 4)
    print([result.text for result in results])
""")
    assert output == f"{['I love you.'] * 4}\n"


@pytest.mark.parametrize("by_steps", [False, True])
def test_daemon_threads_that_translate_at_the_end(by_steps: bool) -> None:
    for _ in range(3):
        output = run(f"""
translator = Translator(by_steps={by_steps}, intra_threads=2)
def work():
    while True:
        translator.translate_batch([TEXT] * 4)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
print("end")
""")
        assert output == "end\n"
