"""OpenAI's own client against the server whose address is the argument."""

import sys
from concurrent.futures import ThreadPoolExecutor

import openai

client = openai.OpenAI(base_url=f"http://{sys.argv[1]}/v1", api_key="none", max_retries=0)
assert [model.id for model in client.models.list()] == ["tiny"]
assert client.models.retrieve("tiny").owned_by == "accelerant"


def complete(**more):
    return client.completions.create(**{"model": "tiny", "prompt": "Once", "max_tokens": 40, "temperature": 0} | more)


whole = complete()
text = whole.choices[0].text
assert whole.choices[0].finish_reason == "length"
assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (4, 40, 44)
pieces = list(complete(stream=True, stream_options={"include_usage": True}))
assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == text
assert pieces[-1].usage == whole.usage
stop = text[10:13]
stopped = complete(stop=[stop])
assert stopped.choices[0].text == text[: text.index(stop)]
assert stopped.choices[0].finish_reason == "stop"
drawn = [complete(temperature=1.5, top_p=0.9, seed=seed).choices[0].text for seed in (1, 1, 2)]
assert drawn[0] == drawn[1] != drawn[2]

messages = [{"role": "user", "content": "Who are you?"}]


def chat(**more):
    more = {"model": "tiny", "messages": messages, "max_completion_tokens": 30, "temperature": 0} | more
    return client.chat.completions.create(**more)


answer = chat()
assert answer.choices[0].message.role == "assistant"
content = answer.choices[0].message.content
pieces = list(chat(stream=True))
assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == content
assert pieces[-1].choices[0].finish_reason == "length"

# Several in flight, each with its own text.
prompts = [f"Once {i}" for i in range(12)]
alone = [complete(prompt=prompt).choices[0].text for prompt in prompts]
with ThreadPoolExecutor(6) as pool:
    together = list(pool.map(lambda prompt: complete(prompt=prompt).choices[0].text, prompts))
assert alone == together

# Several texts in one answer.
answer = complete(prompt=prompts[:2], n=2)
assert [choice.text for choice in answer.choices] == [alone[0], alone[0], alone[1], alone[1]]
assert [choice.index for choice in chat(n=3).choices] == [0, 1, 2]

# A stream that is left.
with complete(stream=True, max_tokens=4000) as stream:
    next(iter(stream))

for kind, call, text in [
    (openai.NotFoundError, lambda: complete(model="none"), "no language model `none`"),
    (openai.BadRequestError, lambda: complete(prompt="x" * 5000), "the prompt has 5000 tokens"),
    (openai.BadRequestError, lambda: complete(logprobs=2), "`logprobs`"),
    (openai.BadRequestError, lambda: chat(messages=[{"role": "robot", "content": ""}]), "no role robot"),
]:
    try:
        call()
        raise SystemExit(f"no error: {text}")
    except kind as error:
        assert text in error.message, error
print("openai: done")
