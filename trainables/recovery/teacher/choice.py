"""Whether the teacher's answers are cached or computed in every step.

Torch-free: the driver decides, since it alone knows how many trials would share a cache, and `plan`
says it beforehand.

Notation: n distinct samples; U uses, how often each is trained on, over all epochs of all trials
that share a cache; P seconds of one pass of the frozen model over them; S bytes of the cache.
    S = cached tokens * (states * hidden size * bytes of a value; or 6 K in the top-k form) + 80 n
    computed in every step:  U P
    cached:                  P + S / write rate + U S / read rate
"""

from typing import Literal

from trainables.common.names import lasting
from trainables.models.families.shape import LanguageShape
from trainables.models.work import attention_channels, linear_weights
from trainables.recovery.teacher.cache_contents import INDEX_BYTES, CacheContents
from trainables.specs import Frozen, TeacherSpec

# Copying into and out of mapped shards on a virtual machine's disk: 0.4 GB/s written, 0.7 read from
# the disk, 1.6 from memory. A local NVMe drive does better, a shared file system may do worse.
WRITE_BYTES_PER_SECOND = 0.5e9
READ_BYTES_PER_SECOND = 1.0e9


class TokenCounts(Frozen):
    """Tokens of the distinct samples that a cache would hold, image tokens in `all` alone.

    `before_text` and `either` are None where nobody has counted (see `Lengths`).
    """

    samples: int
    all: float
    text: float
    response: float
    before_text: float | None = None
    either: float | None = None

    def cached(self, contents: CacheContents) -> float:
        """Tokens that a cache holds."""
        # The token before a text token is one itself, but for the first of a stretch.
        text = min(self.text + self.samples, self.all)
        before = text if self.before_text is None else self.before_text
        named = {
            "all": self.all, "text": self.text, "before_text": before, "response": self.response
        }  # fmt: skip
        if len(contents.positions) > 1:  # text, and what precedes text or answers
            return text if self.either is None else self.either
        return named[contents.positions[0]]


class TeacherChoice(Frozen):
    """How the teacher answers.

    Attributes:
        mode: in every step, or from a cache.
        form: what is cached; None without a cache.
        size_bytes: of the cache, full; 0 without one.
        seconds: to fill it, once; an estimate.
        reason: in words.
    """

    mode: Literal["online", "cached"]
    form: Literal["hidden", "top_k"] | None
    size_bytes: int
    seconds: float
    reason: str


def teacher_bytes(contents: CacheContents, tokens: TokenCounts, hidden_size: int) -> int:
    """S of the teacher's cache."""
    rows = tokens.cached(contents) * contents.token_bytes(hidden_size)
    return round(rows + INDEX_BYTES * tokens.samples)


def teacher_pass_seconds(
    shape: LanguageShape, tokens: TokenCounts, flops_per_second: float
) -> float:
    """P of the teacher; all samples as long as their mean, the vision tower left out."""
    squares = tokens.all**2 / tokens.samples
    flops = 2 * linear_weights(shape) * tokens.all + 4 * attention_channels(shape) * squares
    return flops / flops_per_second


def choose_teacher(
    teacher: TeacherSpec, size_bytes: int, *, uses: float, pass_seconds: float, free_bytes: float
) -> TeacherChoice:
    """How the teacher of these settings answers.

    `size_bytes` is S (`teacher_bytes`), `uses` U and `pass_seconds` P (`teacher_pass_seconds`);
    `free_bytes` are those of the disk where the store lies.

    Raises:
        ValueError: a cache is asked for (`mode='cached'`, or the top-k form, which exists nowhere
            else), but there is no room.
    """
    asked = "teacher.mode='cached'" if teacher.mode == "cached" else ""
    asked = "teacher.form='top_k'" if teacher.form == "top_k" else asked
    limit, no_room = teacher.max_cache_gib * 2**30, ""
    if size_bytes > limit:
        no_room = f"the cache would take {sized(size_bytes)}, above its limit of {sized(limit)}"
    elif size_bytes > free_bytes:
        no_room = f"the cache would take {sized(size_bytes)}, but {sized(free_bytes)} are free"
    filling = pass_seconds + size_bytes / WRITE_BYTES_PER_SECOND
    in_all, each_step = filling + uses * size_bytes / READ_BYTES_PER_SECOND, uses * pass_seconds
    if teacher.mode == "online":
        cached, reason = False, "teacher.mode='online'"
    elif asked and no_room:
        top_k = "use teacher.form='top_k' where there is no hidden term"
        smaller = "lower teacher.top_k" if teacher.form == "top_k" else top_k
        raise ValueError(
            f"{asked} needs a cache, but {no_room}; raise teacher.max_cache_gib or free some disk, "
            f"cover fewer tokens (loss.hidden_tokens), lower data_fraction, {smaller}, or set "
            "teacher.mode='online' with form='hidden'"
        )
    elif asked or no_room:
        cached, reason = bool(asked), asked or no_room
    else:  # whatever costs less time in all
        costs = f"{lasting(in_all)} with a cache, {lasting(each_step)} without"
        cached, reason = in_all < each_step, f"each sample is used {uses:.3g} times: {costs}"
    return TeacherChoice(
        mode="cached" if cached else "online",
        form=teacher.form if cached else None,
        size_bytes=size_bytes if cached else 0,
        seconds=filling if cached else 0.0,
        reason=reason,
    )


def sized(size: float) -> str:
    """Bytes for people: `1.20 GiB`, `34.0 MiB`, `5.3 KiB`."""
    if size >= 2**30:
        return f"{size / 2**30:,.2f} GiB"
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"
