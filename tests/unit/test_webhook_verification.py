"""Signatures of webhooks: who may start a run without a key, and everybody who may not."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from tests.mux_vector import MUX_AT_S, MUX_BODY, MUX_HEADER, MUX_SECRET, MUX_V1
from tests.signed_deliveries import BODY, NOW_S, SECRET, check, kept, signed
from triggers.verification import mux, plain_hmac, standard_webhooks, timed_list
from triggers.verification.delivery import Delivery, SignatureRefused
from triggers.verification.matching import MAX_SIGNATURES
from triggers.verification.plain_hmac import PlainHmac
from triggers.verification.schemes import OF_THE_SENDER, TIMED, Scheme, check_secret, verify

SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
    b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
    b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
    b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
OTHER = "another-secret-of-that-length"
every_scheme = pytest.mark.parametrize("scheme", list(Scheme))


class Vector(NamedTuple):
    """One signature as its maker publishes it."""

    scheme: Scheme
    secret: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    now_s: int


VECTORS = [
    Vector(Scheme.MUX, MUX_SECRET, [("mux-signature", MUX_HEADER)], MUX_BODY, MUX_AT_S),
    Vector(
        Scheme.GITHUB,
        "It's a Secret to Everybody",
        [
            (
                "x-hub-signature-256",
                "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            )
        ],
        b"Hello, World!",
        0,
    ),
    Vector(
        Scheme.SLACK,
        "8f742231b10e8888abcd99yyyzzz85a5",
        [
            ("x-slack-request-timestamp", "1531420618"),
            (
                "x-slack-signature",
                "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
            ),
        ],
        SLACK_BODY,
        1_531_420_618,
    ),
    Vector(
        Scheme.STANDARD,
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ],
        b'{"test": 2432232314}',
        1_614_265_330,
    ),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.scheme.value)
def test_published_vectors_are_accepted(vector: Vector) -> None:
    """What the makers of the schemes publish as signed is taken as signed."""
    delivery = Delivery(vector.headers, vector.body)

    assert verify(vector.scheme, delivery, [vector.secret], now_s=vector.now_s) == 0


def test_each_changed_byte_of_the_mux_vector_is_refused() -> None:
    """No byte of a signed body can be another."""
    headers = VECTORS[0].headers
    for at in range(len(MUX_BODY)):
        changed = MUX_BODY[:at] + bytes([MUX_BODY[at] ^ 1]) + MUX_BODY[at + 1 :]
        with pytest.raises(SignatureRefused):
            mux.verify(Delivery(headers, changed), [MUX_SECRET], now_s=NOW_S)


@every_scheme
def test_what_was_signed_is_accepted(scheme: Scheme) -> None:
    """A request signed with a secret that is kept is genuine, whatever bytes it has."""
    for body in (BODY, b"", b"\x00\xff\xfe", b"not json {"):
        assert check(scheme, signed(scheme, body=body)) == 0


@every_scheme
@given(at=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_one_changed_bit_is_refused(scheme: Scheme, at: int, bit: int) -> None:
    """The body that is verified is the body that was signed, to the bit."""
    changed = bytearray(BODY)
    changed[at] ^= 1 << bit
    delivery = Delivery(signed(scheme).headers, bytes(changed))

    with pytest.raises(SignatureRefused):
        check(scheme, delivery)


@every_scheme
def test_a_body_that_means_the_same_is_another_body(scheme: Scheme) -> None:
    """Nothing is parsed and written again before it is verified."""
    for body in (BODY + b" ", b" " + BODY, BODY.replace(b":", b": ", 1), BODY + b"\n", b""):
        with pytest.raises(SignatureRefused):
            check(scheme, Delivery(signed(scheme).headers, body))


@every_scheme
def test_another_secret_is_refused(scheme: Scheme) -> None:
    """A signature of a secret that is not kept opens nothing, and without secrets none does."""
    with pytest.raises(SignatureRefused, match="does not match"):
        check(scheme, signed(scheme, OTHER))
    with pytest.raises(SignatureRefused, match="no secret"):
        verify(scheme, signed(scheme), [], now_s=NOW_S)


@every_scheme
def test_each_of_several_secrets_opens(scheme: Scheme) -> None:
    """While a secret is exchanged both count, and who signed is told."""
    assert check(scheme, signed(scheme, SECRET), SECRET, OTHER) == 0
    assert check(scheme, signed(scheme, OTHER), SECRET, OTHER) == 1


@every_scheme
def test_a_missing_or_repeated_header_is_refused(scheme: Scheme) -> None:
    """Each header of a scheme must be there once: readers differ in which of two counts."""
    headers = signed(scheme).headers
    for at, (name, value) in enumerate(headers):
        without = [*headers[:at], *headers[at + 1 :]]
        with pytest.raises(SignatureRefused, match="missing"):
            check(scheme, Delivery(without, BODY))
        for again in (value, "x"):
            with pytest.raises(SignatureRefused, match="2 times"):
                check(scheme, Delivery([*headers, (name, again)], BODY))


@pytest.mark.parametrize("scheme", sorted(TIMED))
def test_a_time_too_far_away_is_refused(scheme: Scheme) -> None:
    """What was signed more than 300 s ago, or is of a time to come, is not taken; 300 s are."""
    delivery = signed(scheme)
    for now_s in (NOW_S + 300, NOW_S - 300):
        assert check(scheme, delivery, now_s=now_s) == 0
    for now_s in (NOW_S + 301, NOW_S - 301, 0, 2 * NOW_S):
        with pytest.raises(SignatureRefused, match="300 s are allowed"):
            check(scheme, delivery, now_s=now_s)


@pytest.mark.parametrize("scheme", sorted(TIMED))
@pytest.mark.parametrize(
    "time", ["", "-1", "+1700000000", "1700000000.0", "1e9", "0x1", "1" * 13, "\u0661", " ", "nan"]
)
def test_what_is_no_time_is_refused(scheme: Scheme, time: str) -> None:
    """A signed time is digits and nothing else."""
    headers = [(name, value.replace(str(NOW_S), time)) for name, value in signed(scheme).headers]

    with pytest.raises(SignatureRefused):
        check(scheme, Delivery(headers, BODY))


@pytest.mark.parametrize(
    "header",
    [
        "",
        ",",
        "=",
        f"t={NOW_S}",
        f"v1={MUX_V1}",
        f"t={NOW_S},v1=",
        f"t={NOW_S},v1",
        f"t={NOW_S},v0={MUX_V1}",
        f"t={NOW_S},t={NOW_S},v1={MUX_V1}",
        f"t={NOW_S};v1={MUX_V1}",
        f"T={NOW_S},V1={MUX_V1}",
        f"t={NOW_S},v1={MUX_V1.upper()}",
        f"t={NOW_S},v1={MUX_V1[:-1]}",
        f"t={NOW_S},v1={MUX_V1}0",
        f"t={NOW_S},v1=sha256={MUX_V1}",
        f"t={NOW_S},v1=\u00e9{MUX_V1}",
        f"t={NOW_S},v1=\ud800",
        f"t={NOW_S}," + ",".join(["v1=0"] * (MAX_SIGNATURES + 1)) + f",v1={MUX_V1}",
        f"t={NOW_S}," + "a=b," * 10_000 + f"v1={MUX_V1}",
    ],
)
def test_odd_forms_of_the_mux_header_are_refused(header: str) -> None:
    """Only one `t` and lower-case `v1` of the right length open, and bad text never raises else."""
    with pytest.raises(SignatureRefused):
        mux.verify(Delivery([("mux-signature", header)], MUX_BODY), [MUX_SECRET], now_s=NOW_S)


@pytest.mark.parametrize(
    "header",
    [
        f"t={NOW_S},v1={'0' * 64},v1={MUX_V1}",
        f"v1={MUX_V1},t={NOW_S}",
        f"t={NOW_S}, v1={MUX_V1}",
        f" t={NOW_S},v1={MUX_V1} ",
        f"t={NOW_S},v2=later,v1={MUX_V1},,x",
    ],
)
def test_several_signatures_and_unknown_names_are_taken(header: str) -> None:
    """One good `v1` of several is enough; what is not known is passed over."""
    delivery = Delivery([("mux-signature", header)], MUX_BODY)

    assert mux.verify(delivery, [MUX_SECRET], now_s=NOW_S) == 0


def test_standard_webhooks_take_several_signatures_and_ignore_other_versions() -> None:
    """One good `v1` among several and `v1a` is enough; an id with a dot could mean two things."""
    delivery = signed(Scheme.STANDARD)
    *rest, (name, good) = delivery.headers
    for value in (f"v1,AAAA {good}", f"v1a,x {good}  v2,y"):
        assert check(Scheme.STANDARD, Delivery([*rest, (name, value)], BODY)) == 0
    for value in (good.replace("v1,", "v1a,"), good[3:], good.replace(",", ":"), f"{good}=", ""):
        with pytest.raises(SignatureRefused):
            check(Scheme.STANDARD, Delivery([*rest, (name, value)], BODY))
    for odd in ("a.b", "", "\u00e9", "x" * 257, "a b"):
        headers = [("webhook-id", odd), *delivery.headers[1:]]
        with pytest.raises(SignatureRefused):
            check(Scheme.STANDARD, Delivery(headers, BODY))


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512", "sha1"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "sha256=", "v1:"])
def test_a_plain_hmac_is_read_in_its_form(algorithm: str, encoding: str, prefix: str) -> None:
    """Header, hash, encoding and prefix are the sender's; another form of the same is refused."""
    form = PlainHmac.model_validate(
        {"header": "X-My-Sig", "algorithm": algorithm, "encoding": encoding, "prefix": prefix}
    )
    digest = hmac.new(SECRET.encode(), BODY, getattr(hashlib, algorithm)).digest()
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    delivery = Delivery([("x-my-sig", prefix + text)], BODY)

    assert plain_hmac.verify(delivery, [SECRET], form) == 0
    if encoding == "hex":
        upper = Delivery([("x-my-sig", prefix + text.upper())], BODY)
        assert plain_hmac.verify(upper, [SECRET], form) == 0
    for wrong in (f"x{prefix}{text}", text[1:], f"{prefix}{text}=", prefix):
        with pytest.raises(SignatureRefused):
            plain_hmac.verify(Delivery([("x-my-sig", wrong)], BODY), [SECRET], form)


@every_scheme
@given(value=st.text(st.characters(), max_size=200))
def test_no_header_raises_anything_but_a_refusal(scheme: Scheme, value: str) -> None:
    """Whatever text stands in the headers, the answer is a refusal without that text."""
    for at, (name, _) in enumerate(signed(scheme).headers):
        headers = list(signed(scheme).headers)
        headers[at] = (name, value)
        with pytest.raises(SignatureRefused) as caught:
            check(scheme, Delivery(headers, BODY), OTHER)
        assert SECRET not in str(caught.value)


def test_a_comparison_sees_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """All secrets are compared with all signatures, also after one matched, in constant time."""
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    v1 = timed_list.sign(SECRET, str(NOW_S), BODY).decode()
    header = f"t={NOW_S},v1={v1},v1={'0' * 64},v1={'1' * 64}"
    place = mux.verify(Delivery([("mux-signature", header)], BODY), [SECRET, OTHER], now_s=NOW_S)

    assert (place, len(compared)) == (0, 6)


def test_secrets_that_are_no_secrets_are_refused() -> None:
    """Short ones can be guessed at; the words of the refusal do not hold it."""
    for scheme in Scheme:
        assert check_secret(scheme, kept(scheme, SECRET)[0])
        for bad in ("", "short", "x" * 257, "line\nline-line-line-line", "\x00" * 20):
            with pytest.raises(Invalid) as caught:
                check_secret(scheme, bad)
            assert not bad or bad not in caught.value.detail
    assert check_secret(Scheme.STANDARD, standard_webhooks.new_secret())
    with pytest.raises(Invalid):
        check_secret(Scheme.STANDARD, "whsec_not base 64 at all, though long enough")
    assert Scheme.HMAC not in OF_THE_SENDER
