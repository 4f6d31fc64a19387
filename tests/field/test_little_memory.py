"""Too little memory in the middle of a translation is one line, and the next one succeeds."""

import sys

import pytest
from helpers.command import python

LIMITED = """
import resource
from tfm.runtime import TranslationError, Translator

translator = Translator(intra_threads=1, by_steps=BY_STEPS)
expected = translator.translate("我爱你。").text
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))
try:
    translator.translate_batch(["今天天气很好，我们去公园。" * 20] * 4, beam_size=1024)
except TranslationError as error:
    print(error)
assert translator.translate("我爱你。").text == expected
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("by_steps", [False, True])
def test_too_little_memory(by_steps: bool) -> None:
    done = python(LIMITED.replace("BY_STEPS", str(by_steps)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "not enough memory to translate: lower beam_size, max_length or max_batch_tokens\n"
    )
