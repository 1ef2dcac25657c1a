"""Owns the checks of how the URL of a Redis is read."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.redisurl import RedisUrl, readRedisUrl

SECRET = "hunter2"


class RedisUrlTests(SynchronousTestCase):
    """What may be written, and what may not."""

    def test_reads(self) -> None:
        """All of its forms."""
        for text, expected in {
            "redis://example.org": RedisUrl("example.org"),
            "redis://example.org/": RedisUrl("example.org"),
            "redis://example.org:7000/3": RedisUrl("example.org", 7000, database=3),
            "rediss://10.0.0.1/0": RedisUrl("10.0.0.1", isTls=True),
            "redis://[::1]:7000": RedisUrl("::1", 7000),
            "redis://anna:a%40b%3A@host": RedisUrl("host", user="anna", password="a@b:"),
            "redis://:p%23@host": RedisUrl("host", password="p#"),
            "redis+unix:/run/redis/socket": RedisUrl(port=0, path="/run/redis/socket"),
            "redis+unix:///run/s?db=2": RedisUrl(port=0, path="/run/s", database=2),
            "redis+unix://anna:pw@/run/s": RedisUrl(
                port=0, path="/run/s", user="anna", password="pw"
            ),
        }.items():
            self.assertEqual(readRedisUrl(text), expected, text)

    def test_passwordFromFile(self) -> None:
        """Without the end of its line, and with or without a user."""
        self.assertEqual(readRedisUrl("redis://host", "pw\n").password, "pw")
        url = readRedisUrl("redis://anna@host", " p w\r\n")
        self.assertEqual((url.user, url.password), ("anna", " p w"))

    def test_refuses(self) -> None:
        """In words that are about the mistake, and quote nothing."""
        for text, words in {
            "host:6379": "begin with redis://",
            "http://host": "begin with redis://",
            "redis://": "no host",
            "redis://h\u00f6st": "ASCII",
            f"redis://:{SECRET}/x@host": "no valid host and port",
            f"redis://:{SECRET}#x@host": "no valid host and port",
            f"redis://host/#{SECRET}": "has a '#'",
            f"redis://:{SECRET} @host": "blanks",
            f"redis://host/{SECRET}": "database is not a number",
            "redis://host/-1": "database is not a number",
            "redis://host/1234567": "database is not a number",
            "redis://host?db=1": "has a '?'",
            "redis://host:99999": "no valid host and port",
            "redis://[::1": "no valid host and port",
            "redis://anna@host": "no password",
            "redis+unix:relative": "no absolute path",
            "redis+unix://host/run/s": "no absolute path",
            "redis+unix:/run/s?x=1": "database is not a number",
        }.items():
            error = self.assertRaises(ValueError, readRedisUrl, text)
            self.assertIn(words, str(error), text)
            self.assertNotIn(SECRET, str(error))

    def test_twoPasswords(self) -> None:
        """One in the URL and one in a file: which is meant?"""
        error = self.assertRaises(ValueError, readRedisUrl, f"redis://:{SECRET}@host", "other")
        self.assertNotIn(SECRET, str(error))

    def test_neverShowsThePassword(self) -> None:
        """Nor the user."""
        for text in (f"redis://u5er:{SECRET}@h/1", f"redis+unix://u5er:{SECRET}@/run/s?db=1"):
            url = readRedisUrl(text)
            self.assertNotIn(SECRET, f"{url} {url!r}")
            self.assertNotIn("u5er", f"{url} {url!r}")

    def test_isLocal(self) -> None:
        """As far as can be seen."""
        for text in ("redis://localhost", "redis://127.0.0.9", "redis://[::1]", "redis+unix:/s"):
            self.assertTrue(readRedisUrl(text).isLocal, text)
        for text in ("redis://example.org", "redis://10.0.0.1", "rediss://localhost.example"):
            self.assertFalse(readRedisUrl(text).isLocal, text)

    @given(st.text())
    @example("redis://:\ud800@h")
    def test_anything(self, text: str) -> None:
        """It is a URL, which reads the same again, or a ValueError."""
        try:
            url = readRedisUrl(text)
        except ValueError:
            return
        again = readRedisUrl(str(url))
        self.assertEqual(
            (again.host, again.port, again.database), (url.host, url.port, url.database)
        )

    @given(
        st.from_regex(r"[a-z0-9.-]+|\[::[0-9a-f]{1,4}\]", fullmatch=True),
        st.integers(1, 65535),
        st.integers(0, 999999),
        st.booleans(),
    )
    def test_shownUrlReadsTheSame(self, host: str, port: int, database: int, isTls: bool) -> None:
        """What the log shows can be copied."""
        url = RedisUrl(host.strip("[]"), port, isTls=isTls, database=database)
        self.assertEqual(readRedisUrl(str(url)), url)
