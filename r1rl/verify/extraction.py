"""The committed answer of a completion: what stands in its one `<answer>...</answer>` pair."""

OPEN, CLOSE = "<answer>", "</answer>"
MAX_ANSWER_CHARS = 10_000
"""A longer content is no answer; verifiers have tighter limits of their own."""


def extract(text: str) -> tuple[str | None, str]:
    """The stripped content of the only answer pair and "", or None and the reason.

    Strict on purpose: with two pairs a policy could hedge, with a lenient close it could ramble on, and tags
    are case-sensitive because the prompt gives them in lower case.
    """
    for tag in (OPEN, CLOSE):
        count = text.count(tag)
        if count == 0:
            return None, f"no {tag}"
        if count > 1:
            return None, f"{tag} {count} times"
    start, end = text.index(OPEN) + len(OPEN), text.index(CLOSE)
    if end < start:
        return None, f"{CLOSE} before {OPEN}"
    if end - start > MAX_ANSWER_CHARS:
        return None, f"answer too long: {end - start} characters, at most {MAX_ANSWER_CHARS}"
    content = text[start:end].strip()
    if not content:
        return None, "answer is empty"
    return content, ""


def answer_tag(text: str) -> str | None:
    """The stripped content of the only `<answer>...</answer>` pair, None without exactly one that has any."""
    return extract(text)[0]


def answer_tag_reason(text: str) -> str:
    """Why `answer_tag` is None, "" if it is not."""
    return extract(text)[1]
