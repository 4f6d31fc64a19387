"""How a service begins and ends: 503 until its models are loaded, and an end that answers what was
accepted."""

import concurrent.futures
import json
import re
import signal
import socket
import time

import pytest
from helpers.command import tfm
from helpers.service import RunningService, running_service, until

SENTENCE = "他每天早上六点起床，然后去公园跑步。"


def test_it_says_503_until_it_is_loaded() -> None:
    with running_service(wait=False) as service:
        seen = []
        until(lambda: seen.append(service.ask("/health")) or True)
        status, answer, headers = seen[0]
        if status == 200:
            pytest.skip("the models were loaded before the first question")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "loaded" in answer["error"]
        status, answer, _ = service.ask("/v2/translate", {"text": ["好"], "target_lang": "EN-US"})
        assert status in (200, 503)
        assert service.ask("/languages")[0] == 200
        until(lambda: service.ask("/health")[0] == 200)
        assert service.metric("tfm_loaded") == 1
        assert service.translate("我爱你。") == {"translatedText": "I love you."}


def test_its_address_is_said_once_it_can_be_reached() -> None:
    with running_service(wait=False) as service:
        host, port = service.url.removeprefix("http://").split(":")
        socket.create_connection((host, int(port))).close()
        until(lambda: service.ask("/health")[0] == 200)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_accepted_is_answered(number: signal.Signals) -> None:
    with (
        running_service("-m", "zh-en", "--threads", "1") as service,
        concurrent.futures.ThreadPoolExecutor(20) as pool,
    ):
        expected = service.translate(SENTENCE)
        texts = [SENTENCE * 5 + str(i) for i in range(20)]
        answers = [pool.submit(service.translate, text) for text in texts]
        until(lambda: service.metric("tfm_sentences_waiting") >= 40)
        service.process.send_signal(number)
        begun = time.monotonic()
        for text, answer in zip(texts, answers, strict=True):
            translated = answer.result()["translatedText"]
            assert translated.startswith(expected["translatedText"])
            assert translated.count("park") == text.count("公园")
        assert service.process.wait(30) == 0
        assert time.monotonic() - begun < 30
        with pytest.raises(OSError):
            service.ask("/health")


def test_a_client_without_end_does_not_keep_it() -> None:
    arguments = ("-m", "zh-en", "--threads", "1", "--shutdown-timeout", "1")
    with running_service(*arguments) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            until(lambda: service.metric("tfm_requests_in_progress") == 2)
            service.process.terminate()
            assert service.process.wait(20) == 0


def test_a_client_who_leaves_takes_its_work_along(service: RunningService) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    body = json.dumps({"q": SENTENCE * 400, "source": "zh", "target": "en"}).encode()
    head = f"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    until(lambda: service.metric("tfm_sentences_waiting") == 0)
    before = service.metric("tfm_sentences_total")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        until(lambda: service.metric("tfm_sentences_total") > before)
    until(lambda: service.metric("tfm_sentences_waiting") == 0)
    assert service.metric("tfm_sentences_total") - before < 300
    until(lambda: any(" 499 " in line for line in service.lines))


@pytest.mark.parametrize("partial", [False, True])
def test_a_stream_whose_reader_leaves_ends(service: RunningService, partial: bool) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    question = {"q": SENTENCE * 400, "source": "zh", "target": "en", "partial": partial}
    body = json.dumps(question).encode()
    head = f"POST /tfm/translate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    kinds = b"Content-Type: application/json\r\nAccept: text/event-stream\r\n\r\n"
    before = service.metric("tfm_sentences_total")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + kinds + body)
        received = b""
        while (b"event: partial" if partial else b"event: sentence") not in received:
            received += connection.recv(4096)
    until(lambda: service.metric("tfm_sentences_waiting") == 0)
    assert service.metric("tfm_sentences_total") - before < 300


def test_a_long_text_does_not_keep_short_ones_waiting(service: RunningService) -> None:
    """Of the same client: no more than a window of the long one is before a short one."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        long = pool.submit(service.translate, SENTENCE * 250)
        until(lambda: service.metric("tfm_sentences_waiting") >= 30)
        before = service.metric("tfm_sentences_total")
        service.translate("你叫什么名字？")
        assert service.metric("tfm_sentences_total") - before < 200
        assert not long.done()
        long.result()


def test_what_is_wrong_with_the_command() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, _, stderr = tfm("serve", "--port", port)
    assert (status, stderr.count("\n")) == (1, 1)
    assert f"127.0.0.1:{port}: Address already in use" in stderr
    status, _, stderr = tfm("serve", "-m", "zh-en", "-m", "zh-en")
    assert (status, stderr.count("\n")) == (1, 1)
    assert "both translate from zh to en" in stderr
    status, _, stderr = tfm("serve", "-m", "nothing-here")
    assert (status, "nothing-here" in stderr) == (2, True)
    status, _, stderr = tfm("serve", "--char-limit", "-2")
    assert status == 2
    status, _, stderr = tfm("serve", "--host", "nowhere.invalid", "--port", "0")
    assert (status, stderr.count("\n")) == (1, 1)
    assert "nowhere.invalid" in stderr


def test_an_option_that_is_not_for_the_model_ends_it() -> None:
    status, _, stderr = tfm("serve", "--port", "0", "--suppress-ids", "999999")
    assert status == 2
    assert "--suppress-ids" in stderr.splitlines()[-1]


def test_a_model_that_cannot_be_loaded_ends_it(damaged_folder: str) -> None:
    status, _, stderr = tfm("serve", "--port", "0", "-m", damaged_folder)
    assert status == 1
    assert "is damaged" in stderr.splitlines()[-1]


def test_the_log_says_nothing_of_texts_and_keys() -> None:
    with running_service("-m", "zh-en", "--log", "json", TFM_API_KEYS="secret") as service:
        service.ask("/translate?api_key=secret&q=%E5%A5%BD&source=zh&target=en", method="POST")
        service.ask(
            "/translate", {"q": "秘密", "source": "zh", "target": "en", "api_key": "secret"}
        )
        service.ask("/nothing")
        until(lambda: any("/nothing" in line for line in service.lines))
        lines = [json.loads(line) for line in service.lines]
    posts = [line for line in lines if line.get("path") == "/translate"]
    assert [line["status"] for line in posts] == [200, 200]
    assert set(posts[0]) == {
        *("time", "level", "logger", "client", "method", "path", "status", "seconds")
    }
    assert not re.search("secret|秘密|%E5", "".join(service.lines))
