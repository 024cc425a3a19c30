"""What an endpoint's URL may be, and what becomes of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_push.exceptions import EndpointUrlError
from live_push.rules.endpoint_url import INTERNAL_NAMES, check, display_host, origin
from live_push.rules.networks import AddressRule, parse_networks

PORTS = [443, 8443]
LABEL_63 = "a" * 63


def checked(url: str, *allowed: str, blocked: tuple[str, ...] = ()) -> str:
    return check(url, allowed_ports=PORTS, addresses=AddressRule(parse_networks(allowed), parse_networks(blocked)))


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        pytest.param("https://api.client.example/push", "https://api.client.example/push", id="as-it-should-be"),
        pytest.param("https://api.client.example", "https://api.client.example/", id="a-path-is-added"),
        pytest.param("https://client.example?key=1", "https://client.example/?key=1", id="also-before-a-query"),
        pytest.param("https://client.example/?", "https://client.example/?", id="an-empty-query-stays"),
        pytest.param("HTTPS://Client.EXAMPLE/Push", "https://client.example/Push", id="the-path-keeps-its-case"),
        pytest.param("https://client.example./", "https://client.example/", id="the-trailing-dot-goes"),
        pytest.param("https://client.example:443/", "https://client.example/", id="the-default-port-goes"),
        pytest.param("https://client.example:8443/", "https://client.example:8443/", id="another-port-stays"),
        pytest.param("https://client.example:08443/", "https://client.example:8443/", id="a-leading-zero-goes"),
        pytest.param("https://bücher.example/", "https://xn--bcher-kva.example/", id="an-international-name"),
        pytest.param("https://BÜCHER.example/", "https://xn--bcher-kva.example/", id="in-upper-case"),
        pytest.param("https://faß.example/", "https://xn--fa-hia.example/", id="idna-2008-keeps-the-sharp-s"),
        pytest.param("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/", id="already-an-a-label"),
        pytest.param("https://r3---a.client.example/", "https://r3---a.client.example/", id="hyphens-in-third-place"),
        pytest.param(f"https://{LABEL_63}.example/", f"https://{LABEL_63}.example/", id="the-longest-label"),
        pytest.param("https://1.client.example/", "https://1.client.example/", id="a-number-that-is-not-last"),
        pytest.param("https://client.1a/", "https://client.1a/", id="a-last-label-that-begins-with-a-digit"),
        pytest.param("https://my-localhost.example/", "https://my-localhost.example/", id="no-internal-name"),
        pytest.param("https://local.example/", "https://local.example/", id="an-internal-name-in-another-place"),
        pytest.param("https://8.8.8.8/", "https://8.8.8.8/", id="a-public-address"),
        pytest.param("https://[2606:4700::1]/", "https://[2606:4700::1]/", id="a-public-ipv6-address"),
        pytest.param("https://[2606:4700:0::0:1]:443/", "https://[2606:4700::1]/", id="in-its-long-form"),
        pytest.param(
            "https://client.example/%C3%A9?a=1&b=%20", "https://client.example/%C3%A9?a=1&b=%20", id="an-encoded-path"
        ),
        pytest.param(
            'https://client.example/{a}|<b>?"c"^`[]',
            "https://client.example/%7Ba%7D%7C%3Cb%3E?%22c%22%5E%60%5B%5D",
            id="signs-that-rfc-3986-wants-encoded",
        ),
        pytest.param("https://client.example/%?%z%4", "https://client.example/%25?%25z%254", id="stray-percent-signs"),
        pytest.param("https://client.example/%7b?%c3", "https://client.example/%7B?%C3", id="escapes-in-lower-case"),
        pytest.param(
            "https://client.example/a-._~!$&'()*+,;=:@/?/?", "https://client.example/a-._~!$&'()*+,;=:@/?/?", id="legal"
        ),
        pytest.param("https://client.example/a@b:c", "https://client.example/a@b:c", id="an-at-sign-in-the-path"),
        pytest.param(
            "https://client.example/" + "a" * 2025, "https://client.example/" + "a" * 2025, id="2048-characters"
        ),
    ],
)
def test_a_legal_url_is_normalised(url: str, normal: str) -> None:
    assert checked(url) == normal


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        pytest.param("http://client.example/", "write https://host/path", id="http"),
        pytest.param("ftp://client.example/", "write https://host/path", id="ftp"),
        pytest.param("client.example/push", "write https://host/path", id="no-scheme"),
        pytest.param("//client.example/push", "write https://host/path", id="no-scheme-but-slashes"),
        pytest.param("https:client.example", "write https://host/path", id="no-slashes"),
        pytest.param("https:/client.example", "write https://host/path", id="one-slash"),
        pytest.param("https:///client.example", "write https://host/path", id="three-slashes"),
        pytest.param("https://", "is not valid", id="no-host"),
        pytest.param("https://./", "is not valid", id="only-a-dot"),
        pytest.param("https://client..example/", "is not valid", id="an-empty-label"),
        pytest.param("https://client.example../", "is not valid", id="two-trailing-dots"),
        pytest.param(f"https://a{LABEL_63}.example/", "is not valid", id="a-label-of-64"),
        pytest.param("https://" + "a." * 125 + "example/", "at most 253", id="a-name-of-257"),
        pytest.param("https://-client.example/", "is not valid", id="a-hyphen-first"),
        pytest.param("https://client-.example/", "is not valid", id="a-hyphen-last"),
        pytest.param("https://cli_ent.example/", "is not valid", id="an-underscore"),
        pytest.param("https://cli!ent.example/", "is not valid", id="an-exclamation-mark"),
        pytest.param("https://xn--zzzzzz99999.example/", "internationalized", id="no-a-label"),
        pytest.param("https://cli\u200dent.example/", "internationalized", id="an-invisible-joiner"),
        pytest.param("https://☃.example/", "internationalized", id="a-snowman"),
        pytest.param("https://client\u3002example/", "internationalized", id="an-ideographic-full-stop"),
        pytest.param("https://127\uff0e0\uff0e0\uff0e1/", "write the plain ones: 127.0.0.1", id="full-width-dots"),
        pytest.param("https://\uff11\uff12\uff17.0.0.1/", "write the plain ones: 127.0.0.1", id="full-width-digits"),
        pytest.param(
            "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "write the plain ones: 127.0.0.1", id="circled-digits"
        ),
        pytest.param(
            "https://127\u30020\u30020\u30021/", "internationalized", id="an-address-with-ideographic-full-stops"
        ),
        pytest.param("https://\u24d4xample.com/", "write the plain ones: example.com", id="a-circled-letter"),
        pytest.param("https://user:secret@client.example/", "authentication", id="a-password"),
        pytest.param("https://user@client.example/", "authentication", id="a-user-name"),
        pytest.param("https://@client.example/", "authentication", id="an-empty-user-name"),
        pytest.param("https://client.example#@127.0.0.1/", "fragment", id="a-fragment-that-hides-a-host"),
        pytest.param("https://client.example/#top", "fragment", id="a-fragment"),
        pytest.param("https://client.example/#", "fragment", id="an-empty-fragment"),
        pytest.param("https://client.example\\@127.0.0.1/", r"U\+005C", id="a-backslash"),
        pytest.param("https://client.example/a b", r"U\+0020", id="a-space"),
        pytest.param(" https://client.example/", r"U\+0020", id="a-space-before"),
        pytest.param("https://client.example/\n", r"U\+000A", id="a-newline-after"),
        pytest.param("https://client.example/\r\nHost: x", r"U\+000D", id="a-header"),
        pytest.param("https://client.example/\x00", r"U\+0000", id="a-nul"),
        pytest.param("https://client.example/\x7f", r"U\+007F", id="a-delete"),
        pytest.param("https://client.example/\x85", r"U\+0085", id="a-c1-control"),
        pytest.param("https://client.example/\xa0", r"U\+00A0", id="a-no-break-space"),
        pytest.param("https://client%2eexample/", "contains a percent sign", id="a-percent-encoded-host"),
        pytest.param("https://client.example/é", "contains 'é'.*: %C3%A9$", id="a-path-outside-ascii"),
        pytest.param("https://client.example//push", "write one", id="a-path-that-would-be-sent-as-another"),
        pytest.param("https://client.example/\ud800", r"U\+D800", id="half-a-character"),
        pytest.param("https://cli\udfffent.example/", r"U\+DFFF", id="half-a-character-in-the-host"),
        pytest.param("https://\u212aube.example/", "write the plain ones: kube.example", id="a-kelvin-sign"),
        pytest.param("https://client.example:/", "from 1 to 65535", id="an-empty-port"),
        pytest.param("https://client.example:0/", "from 1 to 65535", id="port-0"),
        pytest.param("https://client.example:65536/", "from 1 to 65535", id="port-65536"),
        pytest.param("https://client.example:-443/", "from 1 to 65535", id="a-negative-port"),
        pytest.param("https://client.example:٤٤٣/", "from 1 to 65535", id="a-port-in-another-script"),
        pytest.param("https://client.example:443:443/", "from 1 to 65535", id="two-ports"),
        pytest.param("https://client.example:22/", "allowed are: 443, 8443", id="port-22"),
        pytest.param("https://client.example:6379/", "allowed are: 443, 8443", id="port-6379"),
        pytest.param("https://127.0.0.1/", "not a public address", id="loopback"),
        pytest.param("https://10.0.0.1/", "not a public address", id="private"),
        pytest.param("https://169.254.169.254/", "not a public address", id="metadata"),
        pytest.param("https://168.63.129.16/", "not a public address", id="wireserver"),
        pytest.param("https://[::1]/", "not a public address", id="loopback-ipv6"),
        pytest.param("https://[64:ff9b::808:808]/", "not a public address", id="nat64"),
        pytest.param("https://[::ffff:8.8.8.8]/", "write 8.8.8.8", id="mapped-and-public"),
        pytest.param("https://[::ffff:7f00:1]/", "write 127.0.0.1", id="mapped-and-loopback"),
        pytest.param("https://[fe80::1%25eth0]/", "without a zone", id="a-zone"),
        pytest.param("https://[127.0.0.1]/", "not an IPv6 address", id="ipv4-in-brackets"),
        pytest.param("https://[client.example]/", "not an IPv6 address", id="a-name-in-brackets"),
        pytest.param("https://[v1.x]/", "not an IPv6 address", id="an-address-of-the-future"),
        pytest.param("https://[::1/", "not an IPv6 address", id="a-bracket-that-does-not-close"),
        pytest.param("https://[2606:4700::1]x/", "Something follows", id="something-after-the-bracket"),
        pytest.param("https://[2606:4700::1]:/", "from 1 to 65535", id="an-empty-port-after-the-bracket"),
        pytest.param("https://2130706433/", "four decimal numbers", id="a-decimal-address"),
        pytest.param("https://0x7f000001/", "four decimal numbers", id="a-hexadecimal-address"),
        pytest.param("https://0177.0.0.1/", "four decimal numbers", id="an-octal-address"),
        pytest.param("https://127.1/", "four decimal numbers", id="a-short-address"),
        pytest.param("https://0x7f.0.0.0x1/", "four decimal numbers", id="a-mixed-address"),
        pytest.param("https://127.0.0.1./", "not a public address", id="an-address-with-a-trailing-dot"),
        pytest.param("https://client.0x/", "four decimal numbers", id="a-name-that-ends-like-a-number"),
        pytest.param("https://256.1.1.1/", "four decimal numbers", id="a-number-above-255"),
        pytest.param("https://localhost/", "single word", id="localhost"),
        pytest.param("https://intranet/", "single word", id="a-single-label"),
        pytest.param("https://LOCALHOST./", "single word", id="localhost-in-disguise"),
        pytest.param("https://metadata.google.internal/", "internal name", id="metadata-by-name"),
        pytest.param("https://client.example/" + "a" * 2026, "at most 2048", id="2049-characters"),
        pytest.param("https://" + "ü." * 20 + "example/" + "a" * 1950, "at most 2048", id="too-long-in-a-labels"),
        pytest.param("", "write https://host/path", id="empty"),
    ],
)
def test_another_url_is_refused_with_a_sentence_that_helps(url: str, sentence: str) -> None:
    with pytest.raises(EndpointUrlError, match=sentence):
        checked(url)


@pytest.mark.parametrize("name", INTERNAL_NAMES)
def test_internal_names_are_refused(name: str) -> None:
    with pytest.raises(EndpointUrlError, match="internal name"):
        checked(f"https://client.{name}/")


def test_an_internal_name_of_two_parts_is_refused_itself() -> None:
    with pytest.raises(EndpointUrlError, match="internal name"):
        checked("https://home.arpa/")


@pytest.mark.parametrize("value", [None, 7, b"https://client.example/", ["https://client.example/"]])
def test_what_is_not_text_is_refused(value: object) -> None:
    with pytest.raises(EndpointUrlError, match="write text"):
        checked(value)  # type: ignore[arg-type]


def test_the_sentence_never_repeats_a_password() -> None:
    with pytest.raises(EndpointUrlError) as refusal:
        checked("https://jane:hunter2@client.example/")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("url", ["https://client.example/é?token=hunter2", "https://client.example//?token=hunter2"])
def test_the_sentence_never_repeats_path_or_query(url: str) -> None:
    with pytest.raises(EndpointUrlError) as refusal:
        checked(url)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("url", ["https://localhost:8443/", "https://intranet/", "https://client.internal/"])
def test_where_private_networks_are_allowed_the_address_of_an_internal_name_decides(url: str) -> None:
    assert checked(url, "127.0.0.0/8") == url


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://[::1]/", "https://8.8.8.8/", "https://[2606:4700::1]/"])
def test_an_address_that_is_public_or_allowed_passes(url: str) -> None:
    assert checked(url, "127.0.0.0/8", "::1/128") == url


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[fd00::1]/",
        "https://[64:ff9b::a00:1]/",
        "https://169.254.169.254/",
    ],
)
@pytest.mark.parametrize("allowed", ["192.168.7.0/24", "169.254.0.0/16", "64:ff9b::/96"])
def test_an_allowed_network_allows_no_address_outside(url: str, allowed: str) -> None:
    with pytest.raises(EndpointUrlError, match=r"not a public address.*ALLOWED_PRIVATE_NETWORKS"):
        checked(url, allowed)


@pytest.mark.parametrize("allowed", [(), ("10.0.0.0/8",)])
@pytest.mark.parametrize("url", ["https://8.8.8.8/", "https://10.0.0.1/"])
def test_an_address_in_a_blocked_network_is_refused(url: str, allowed: tuple[str, ...]) -> None:
    with pytest.raises(EndpointUrlError, match="EXTRA_BLOCKED_NETWORKS"):
        checked(url, *allowed, blocked=("8.8.8.0/24", "10.0.0.0/8"))


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "https://localhost/"])
def test_where_no_rule_is_given_no_destination_is_judged(url: str) -> None:
    assert check(url, allowed_ports=None, addresses=None) == url


@pytest.mark.parametrize(
    "url", ["https://127.1/", "http://localhost/", "https://a@localhost/", "https://localhost:22/"]
)
def test_private_networks_relax_nothing_else(url: str) -> None:
    with pytest.raises(EndpointUrlError):
        checked(url, "127.0.0.0/8")


@pytest.mark.parametrize("port", [1, 22, 65535])
def test_any_port_passes_where_none_is_named(port: int) -> None:
    url = f"https://client.example:{port}/"
    assert check(url, allowed_ports=None, addresses=AddressRule()) == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://client.example/a", "https://client.example:443"),
        ("https://CLIENT.example.:443/b?c", "https://client.example:443"),
        ("https://client.example:8443/a", "https://client.example:8443"),
        ("https://bücher.example/", "https://xn--bcher-kva.example:443"),
        ("https://[2606:4700:0::0:1]/", "https://[2606:4700::1]:443"),
        ("https://10.0.0.1:22/", "https://10.0.0.1:22"),
    ],
)
def test_the_origin_is_what_credentials_are_bound_to(url: str, expected: str) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize("url", ["http://client.example/", "https://client.example:99999/", "nonsense"])
def test_what_cannot_be_read_has_no_origin(url: str) -> None:
    with pytest.raises(EndpointUrlError):
        origin(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://xn--bcher-kva.example/", "bücher.example"),
        ("https://BÜCHER.example:8443/", "bücher.example"),
        ("https://client.example/", "client.example"),
        ("https://8.8.8.8/", "8.8.8.8"),
        ("https://[2606:4700::1]/", "[2606:4700::1]"),
    ],
)
def test_people_see_the_host_as_they_write_it(url: str, expected: str) -> None:
    assert display_host(url) == expected


# Halves of characters included, which text() alone leaves out.
ANY = st.text(st.characters())
URLS = st.one_of(
    ANY,
    st.builds("https://{}{}".format, st.text(min_size=1), ANY),
    st.builds("https://client.example/{}".format, ANY),
    st.from_regex(r"\Ahttps://[a-z0-9.\[\]:@%x_-]{1,40}(/[ -~]*)?\Z"),
    st.from_regex("\\Ahttps://[\\w.\u3002\uff0e-]{1,20}\\.[\\w-]{1,10}(:[0-9]{1,5})?/?\\Z"),
)


@given(URLS, st.sampled_from([None, AddressRule(), AddressRule(parse_networks(["10.0.0.0/8"]))]))
def test_whatever_is_typed_becomes_a_plain_url_or_is_refused(url: str, addresses: AddressRule | None) -> None:
    try:
        normal = check(url, allowed_ports=None, addresses=addresses)
    except EndpointUrlError:
        return
    assert normal.isascii()
    assert len(normal) <= 2048
    # RFC 3986, appendix A: pchar, the slash and the question mark.
    rest = r"([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2})*"
    assert re.fullmatch(r"https://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?/" + rest, normal)
    assert check(normal, allowed_ports=None, addresses=addresses) == normal
    assert normal.startswith(origin(normal).removesuffix(":443"))
