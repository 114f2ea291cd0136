"""Several of OpenAI's clients at once against a server that generates 3 texts at a time and lets 2 wait. The address is the
argument."""

import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai

address = sys.argv[1]


def client():
    return openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0)


def metric(name):
    page = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
    return float(next(line.rsplit(" ", 1)[1] for line in page.splitlines() if line.startswith(name + "{")))


def until(name, value):
    start = time.monotonic()
    while metric(name) != value:
        assert time.monotonic() - start < 60, f"{name} is {metric(name)}, not {value}"
        time.sleep(0.005)


def asked(i):
    """Requests of different lengths, every second one drawn with a seed of its own."""
    more = {"temperature": 1.2, "seed": i} if i % 2 else {"temperature": 0}
    return {"model": "tiny", "prompt": f"{i}" * (7 * i + 1), "max_tokens": 20 + 9 * i} | more


def text(i):
    own = client()
    if i % 3 == 0:
        return "".join(piece.choices[0].text for piece in own.completions.create(**asked(i), stream=True))
    return own.completions.create(**asked(i)).choices[0].text


alone = [text(i) for i in range(10)]
long = {"model": "tiny", "prompt": "Long", "max_tokens": 4000, "temperature": 0, "stream": True}
# One goes on all the time, and one goes away in the middle.
stays, leaves = client().completions.create(**long), client().completions.create(**long)
next(iter(stays))
next(iter(leaves))
with ThreadPoolExecutor(5) as pool:
    first = [pool.submit(text, i) for i in range(2)]
    assert [one.result() for one in first] == alone[:2]
    third = client().completions.create(**long)
    next(iter(third))
    waiting = [pool.submit(text, i) for i in (2, 3)]
    until("accelerant_generations_waiting", 2)
    try:
        text(4)
        raise SystemExit("the queue is not full")
    except openai.InternalServerError as error:
        assert error.status_code == 503 and "5 texts wait or are generated already" in error.message, error
    leaves.close()
    assert [one.result() for one in waiting] == alone[2:4]
    # Five at most are in flight now with the two streams.
    with ThreadPoolExecutor(3) as three:
        assert list(three.map(text, range(4, 10))) == alone[4:]
    assert metric("accelerant_generations") >= 1, "the stream has ended before the others"
stays.close()
third.close()
until("accelerant_generations", 0)
print("openai at once: done")
