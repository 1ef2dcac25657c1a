"""RFC 6455, sections 5 and 7: the server. Each test is named by the section of its rule.

A client uses or breaks a rule wherever one can be: before it has said anything, while it waits, in
a tunnel, as the server of a tunnel proxy and as a client of one. To its partner a breach is like
any other end: whatever is passed on is in frames of the proxy's own.

Absent is what a relay cannot break. 5.7, 7.1.3, 7.1.4 and 7.1.6 are examples and definitions; 5.8,
and what 5.2 and 5.4 say of extensions, is for who has some, and that there are none is 9.1 here;
7.2.1 and 7.2.3 are for clients (`tests.conformance.test_client`, `tests.client.test_retrying`);
7.2.2 and 7.3 allow a server to close whenever it likes. That frames may be cut anywhere, and all
65,536 close codes, are tested in `tests.protocol.test_frames`.
"""

from __future__ import annotations

import json

from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_PAYLOAD,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
)
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.conformance.peers import PARTNER_LEFT, Frame, PeerCase, closeBody
from tests.support.endtoend import call
from tests.support.inmemory import UPGRADE
from tests.support.wires import maskedFrame

MASK = b"\x37\xfa\x21\x3d"

AFTER = maskedFrame(PING, b"after") + maskedFrame(BINARY, b"after")
"""What comes behind the end is neither relayed nor answered."""

GRUSS = "grüße".encode()
"""Behind three bytes it is cut within a character."""

DATA = TEXT, BINARY
CONTROL = CLOSE, PING, PONG

FORBIDDEN = 1004, 1005, 1006, 1015
"""Codes that are reserved, and must not be in any close frame (section 7.4.1)."""


def unmasked(opcode: int, payload: bytes = b"") -> bytes:
    """Return a small frame without a mask."""
    return bytes([0x80 | opcode, len(payload)]) + payload


def sized(encoded: bytes, opcode: int = BINARY) -> bytes:
    """Return the head of a masked frame whose length is written like this."""
    return bytes([0x80 | opcode, 0x80 | (126 if len(encoded) == 2 else 127)]) + encoded + MASK


def closing(code: int, reason: bytes = b"") -> bytes:
    """Return a client's close frame."""
    return maskedFrame(CLOSE, code.to_bytes(2, "big") + reason)


def reserving(bits: int, frame: bytes) -> bytes:
    """Return a frame with reserved bits."""
    return bytes([frame[0] | bits]) + frame[1:]


class ServerTests(PeerCase):
    """The rules, by section, without TLS."""

    def assertFailed(self, *breaches: bytes, code: int = PROTOCOL_ERROR) -> None:
        """Each of these fails the connection, wherever the client is, and costs nobody else."""
        for breach in breaches:
            for place in self.places():
                before = self.ends(Outcome.WEBSOCKET_PROTOCOL_ERROR)
                place.client.send(place.words, breach, AFTER)
                [(opcode, _fin, body)] = place.client.frames()
                self.assertEqual((opcode, body[:2]), (CLOSE, code.to_bytes(2, "big")), place.name)
                self.assertTrue(place.client.visitor.isTold, place.name)
                if place.partner is not None:
                    self.assertEqual(tuple(place.partner.frames()), place.heard, place.name)
                place.client.visitor.pipe.lose(ConnectionDone())
                self.assertEqual(self.ends(Outcome.WEBSOCKET_PROTOCOL_ERROR), before + 1)

    def assertRelayed(self, sent: list[bytes], *heard: Frame) -> None:
        """What is sent in these reads arrives as these frames."""
        place = self.paired()
        for each in sent:
            place.client.send(each)
        self.assertEqual(tuple(place.partner.frames()), heard)

    # 5.1 Overview

    def test_5_1_clientMasks(self) -> None:
        """A client masks all frames; a server closes when one is not, with 1002."""
        self.assertFailed(*(unmasked(opcode) for opcode in (*DATA, *CONTROL)))

    def test_5_1_serverNeverMasks(self) -> None:
        """Nothing that a server sends is masked: what it relays, a ping, a pong, a close.

        No reserved bit is set in any of it either (5.2).
        """
        place = self.paired()
        place.partner.send(maskedFrame(TEXT, b"", fin=False), maskedFrame(CONTINUATION, b""))
        place.client.send(maskedFrame(PING, b""))
        self.clock.advance(60)
        place.partner.send(maskedFrame(CLOSE, b""))
        opcodes = {opcode for opcode, _fin, _payload in place.client.frames()}
        self.assertEqual(opcodes, {CONTINUATION, TEXT, CLOSE, PING, PONG})

    # 5.2 Base framing protocol

    def test_5_2_reservedBits(self) -> None:
        """RSV1, RSV2 and RSV3 are 0, since no extension says what they mean."""
        frames = [maskedFrame(opcode, b"") for opcode in (TEXT, *CONTROL)]
        self.assertFailed(*(reserving(bits, frames[0]) for bits in (0x40, 0x20, 0x10, 0x70)))
        self.assertFailed(*(reserving(0x40, each) for each in frames))

    def test_5_2_reservedOpcodes(self) -> None:
        """Opcodes 3 to 7 and B to F are reserved."""
        self.assertFailed(*(maskedFrame(opcode, b"") for opcode in (*range(3, 8), *range(11, 16))))

    def test_5_2_shortestLength(self) -> None:
        """A length is written in the fewest bytes there are for it."""
        self.assertFailed(*(sized(size.to_bytes(2, "big")) for size in (0, 125)))
        self.assertFailed(*(sized(size.to_bytes(8, "big")) for size in (0, 125, 126, 65535)))

    def test_5_2_longestLength(self) -> None:
        """The most significant bit of a length of 64 bits is 0; the others are for any length."""
        self.assertFailed(sized(b"\x80" + bytes(7)), sized(b"\xff" * 8))
        self.assertRelayed([sized(b"\x7f" + b"\xff" * 7) + MASK], (BINARY, False, bytes(4)))

    def test_5_2_lengthsOfTheServer(self) -> None:
        """It keeps to both, at the bounds of each form."""
        for size, head in (
            (125, b"\x7d"),
            (126, b"\x7e\x00\x7e"),
            (65535, b"\x7e\xff\xff"),
            (65536, b"\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ):
            place = self.paired()
            place.client.send(maskedFrame(BINARY, bytes(size)))
            self.assertEqual(place.partner.visitor.take(), b"\x82" + head + bytes(size))

    # 5.3 Client-to-server masking

    def test_5_3_anyMask(self) -> None:
        """Each frame has a mask of its own, whatever it is, also one that changes nothing."""
        for mask in (bytes(4), b"\xff" * 4, b"\x00\x01\x02\x03"):
            for size in range(9):
                payload = b"payload!"[:size]
                self.assertRelayed(
                    [maskedFrame(BINARY, payload, mask=mask) + maskedFrame(BINARY, GRUSS)],
                    (BINARY, True, payload),
                    (BINARY, True, GRUSS),
                )

    def test_5_3_maskGoesOn(self) -> None:
        """Byte i of the payload is masked with byte i modulo 4, also when it comes in two reads."""
        whole = maskedFrame(BINARY, b"payload")
        for cut in range(len(whole) - 7 + 1, len(whole)):
            first = b"payload"[: cut - len(whole)]
            self.assertRelayed(
                [whole[:cut], whole[cut:]],
                (BINARY, False, first),
                (CONTINUATION, True, b"payload"[len(first) :]),
            )

    # 5.4 Fragmentation

    def test_5_4_fragments(self) -> None:
        """Only the first has the message's opcode, only the last has FIN; some may be empty."""
        for opcode in DATA:
            self.assertRelayed(
                [
                    maskedFrame(opcode, b"", fin=False),
                    maskedFrame(CONTINUATION, b"a", fin=False) + maskedFrame(CONTINUATION, b""),
                    maskedFrame(opcode, b"next"),
                ],
                (opcode, False, b""),
                (CONTINUATION, False, b"a"),
                (CONTINUATION, True, b""),
                (opcode, True, b"next"),
            )

    def test_5_4_fragmentsOfACall(self) -> None:
        """An endpoint takes a message in fragments, before a tunnel as well."""
        client = self.fresh().client
        hello = call("RemoteProxy.Hello")
        client.send(
            *(maskedFrame(not at, hello[at : at + 1], fin=False) for at in range(len(hello)))
        )
        self.assertEqual(client.frames(), [])
        client.send(maskedFrame(CONTINUATION, b""))
        [(opcode, fin, answer)] = client.frames()
        self.assertEqual((opcode, fin, json.loads(answer)["status"]), (TEXT, True, "success"))

    def test_5_4_nothingToContinue(self) -> None:
        """A message begins with another opcode than 0."""
        self.assertFailed(*(maskedFrame(CONTINUATION, b"", fin=fin) for fin in (True, False)))

    def test_5_4_messagesNotInterleaved(self) -> None:
        """The fragments of one message are not between those of another."""
        for opcode in DATA:
            place = self.paired()
            begun = maskedFrame(BINARY, b"a", fin=False)
            place.client.send(begun, maskedFrame(opcode, b"b"), AFTER)
            [(_opcode, _fin, body)] = place.client.frames()
            self.assertEqual(body[:2], closeBody(PROTOCOL_ERROR))
            self.assertEqual(place.partner.frames(), [(BINARY, False, b"a"), PARTNER_LEFT])

    def test_5_4_controlFrameInterleaved(self) -> None:
        """A control frame may be between fragments; it is answered at once, and is not of them."""
        for place in self.tunnels():
            place.client.send(maskedFrame(BINARY, b"", fin=False), maskedFrame(PING, b"?"))
            self.assertEqual(place.client.frames(), [(PONG, True, b"?")], place.name)
            heard = [payload for _opcode, _fin, payload in place.partner.frames()]
            self.assertNotIn(b"?", heard, place.name)

    def test_5_4_ownControlFrameInterleaved(self) -> None:
        """The server's are between fragments as well: whoever gets a long message is answered."""
        place = self.paired()
        place.client.send(maskedFrame(BINARY, b"a", fin=False))
        place.partner.send(maskedFrame(PING, b"?"))
        place.client.send(maskedFrame(CONTINUATION, b"b"))
        self.assertEqual(
            place.partner.frames(),
            [(BINARY, False, b"a"), (PONG, True, b"?"), (CONTINUATION, True, b"b")],
        )

    # 5.5 Control frames

    def test_5_5_longest(self) -> None:
        """A control frame has at most 125 bytes, and its length no other form."""
        self.assertFailed(*(maskedFrame(opcode, bytes(126)) for opcode in CONTROL))
        self.assertFailed(*(sized(bytes(2), opcode) for opcode in CONTROL))

    def test_5_5_notFragmented(self) -> None:
        """A control frame has FIN."""
        self.assertFailed(*(maskedFrame(opcode, b"", fin=False) for opcode in CONTROL))

    # 5.5.1 Close

    def test_5_5_1_codeOfTwoBytes(self) -> None:
        """If a close frame has a body, that begins with a code, of two bytes."""
        self.assertFailed(maskedFrame(CLOSE, b"\x03"))

    def test_5_5_1_reasonIsText(self) -> None:
        """What follows the code is UTF-8, however long."""
        self.assertFailed(
            closing(1000, b"\xff"),
            closing(1000, b"\xed\xa0\x80"),
            closing(1000, b"x" * 122 + b"\xc3"),
            code=INVALID_PAYLOAD,
        )

    def test_5_5_1_answered(self) -> None:
        """Who gets a close frame sends one, in whatever place, if it has not done so before.

        Where there is no partner to be told of, the code is the server's.
        """
        for body in (b"", closeBody(1000), closeBody(1001, "x" * 123), closeBody(4000, "grüße")):
            for place in self.places():
                place.client.send(maskedFrame(CLOSE, body))
                [(opcode, _fin, answer)] = place.client.frames()
                echo = body[:2] if place.partner is not None else closeBody(1000)
                self.assertEqual((opcode, answer[:2]), (CLOSE, echo), place.name)

    def test_5_5_1_nothingBehindTheirs(self) -> None:
        """Data behind a close frame is none: it is not relayed; and nobody is told of it twice."""
        for place in self.tunnels():
            place.client.send(place.words, maskedFrame(CLOSE, b""), AFTER)
            place.client.send(AFTER)
            self.assertEqual(tuple(place.partner.frames()), place.heard, place.name)
            self.assertEqual(place.client.frames(), [(CLOSE, True, b"")], place.name)

    def test_5_5_1_nothingBehindOurs(self) -> None:
        """Once the server has sent its close frame it sends nothing, whatever it still gets."""
        place = self.paired()
        place.partner.send(maskedFrame(CLOSE, b""))
        self.assertEqual(place.client.frames(), [PARTNER_LEFT])
        place.client.send(AFTER)
        place.client.send(closing(1000))
        place.partner.send(AFTER)
        self.assertEqual(place.client.frames(), [])

    # 5.5.2 Ping, 5.5.3 Pong

    def test_5_5_2_pingAnswered(self) -> None:
        """Each ping is answered, as soon as can be, by a pong with the same data."""
        for place in self.places():
            for data in (b"", b"\x00\xff", b"x" * 125):
                place.client.send(maskedFrame(PING, data))
                self.assertEqual(place.client.frames(), [(PONG, True, data)], place.name)

    def test_5_5_2_notRelayed(self) -> None:
        """Pings and pongs are between a client and the server."""
        for place in self.tunnels():
            place.client.send(maskedFrame(PING, b"?"), maskedFrame(PONG, b"!"))
            self.assertEqual(place.partner.frames(), [], place.name)

    def test_5_5_3_latestOfMany(self) -> None:
        """Of several pings that were not answered yet, the most recent one may do for all."""
        for place in self.places():
            place.client.send(*(maskedFrame(PING, data) for data in (b"1", b"2", b"3")))
            self.assertEqual(place.client.frames(), [(PONG, True, b"3")], place.name)

    def test_5_5_3_unsolicited(self) -> None:
        """A pong that nobody asked for is not answered, and breaks nothing."""
        for place in self.places():
            place.client.send(maskedFrame(PONG, b"heartbeat"))
            self.assertEqual(place.client.frames(), [], place.name)
            place.client.send(maskedFrame(PING, b"?"))
            self.assertEqual(place.client.frames(), [(PONG, True, b"?")], place.name)

    # 5.6 Data frames, 8.1 errors in UTF-8

    def test_5_6_type(self) -> None:
        """Text stays text, and binary data binary data."""
        for opcode in DATA:
            self.assertRelayed([maskedFrame(opcode, GRUSS)], (opcode, True, GRUSS))

    def test_5_6_textCutAnywhere(self) -> None:
        """Only a whole message has to be UTF-8: a fragment may end within a character."""
        first, second = GRUSS[:3], GRUSS[3:]
        self.assertRelayed(
            [maskedFrame(TEXT, first, fin=False), maskedFrame(CONTINUATION, second)],
            (TEXT, False, first),
            (CONTINUATION, True, second),
        )
        client = self.fresh().client
        hello = call("RemoteProxy.Hello").replace(b"}", b',"x":"' + GRUSS + b'"}', 1)
        cut = hello.index(GRUSS) + len(first)
        client.send(maskedFrame(TEXT, hello[:cut], fin=False))
        client.send(maskedFrame(CONTINUATION, hello[cut:]))
        [(_opcode, _fin, answer)] = client.frames()
        self.assertEqual(json.loads(answer)["status"], "success")

    def test_5_6_textOfAStream(self) -> None:
        """What the server makes text of is UTF-8, in each message; what is not is binary data."""
        text, stream = self.join("WebSocket", "TCP")
        for part in (GRUSS[:3], GRUSS[3:], b"\xff"):
            stream.receive(part)
        self.assertEqual(text.take(), b"\x81\x02gr\x81\x05" + GRUSS[2:] + b"\x82\x01\xff")

    def test_8_1_invalidTextOfACall(self) -> None:
        """Who reads text fails the connection for what is not UTF-8.

        With 1002 and not 1007, and after an answer: as docs/protocol.rst says of invalid JSON.
        """
        client = self.fresh().client
        client.send(maskedFrame(TEXT, b'{"id":1,"x":"\xff"}'), AFTER)
        (opcode, _fin, answer), (last, _fin, body) = client.frames()
        self.assertEqual((opcode, json.loads(answer)["status"]), (TEXT, "error"))
        self.assertEqual((last, body[:2]), (CLOSE, closeBody(PROTOCOL_ERROR)))

    def test_8_1_invalidTextRelayed(self) -> None:
        """Who only relays text does not read it: that is for the partner (docs/protocol.rst)."""
        self.assertRelayed([maskedFrame(TEXT, b"\xff")], (TEXT, True, b"\xff"))

    # 7 Closing the connection

    def test_7_1_1_serverClosesTcpFirst(self) -> None:
        """After both close frames it is the server that closes TCP, at once."""
        for place in self.places():
            place.client.send(closing(1000))
            place.client.frames()
            self.assertTrue(place.client.visitor.isTold, place.name)
        for place in self.tunnels():
            if place.name == "served":
                continue  # its partner, a server, stays
            place.client.send(closing(1000))
            place.partner.frames()
            self.assertFalse(place.partner.visitor.isTold, place.name)
            place.partner.send(closing(1000))
            place.partner.frames()
            self.assertTrue(place.partner.visitor.isTold, place.name)

    def test_7_1_2_waitsForTheirs(self) -> None:
        """Who has sent a close frame waits for the other's, but not for ever."""
        place = self.paired()
        place.client.visitor.pipe.lose(ConnectionDone())
        self.goneAfterAborting(place.partner.visitor.pipe)
        client, stream = self.join("WebSocket", "TCP")
        stream.protocol.readConnectionLost()  # it still takes what the client sends
        self.goneAfterAborting(client)

    def test_7_1_5_noCode(self) -> None:
        """1005 means that there was no code: the answer to such a frame has none."""
        client = self.paired().client
        client.send(maskedFrame(CLOSE, b""))
        self.assertEqual(client.frames(), [(CLOSE, True, b"")])

    def test_7_1_7_failed(self) -> None:
        """Whoever fails a connection processes nothing more of it, and ends its own sending."""
        for place in self.places():
            place.client.send(unmasked(TEXT))
            place.client.frames()
            self.assertTrue(place.client.visitor.isTold, place.name)
            if place.partner is not None:
                place.partner.frames()
            place.client.send(place.words, maskedFrame(PING, b"?"), closing(1000))
            self.assertEqual(place.client.frames(), [], place.name)
            if place.partner is not None:
                self.assertEqual(place.partner.frames(), [], place.name)

    def test_7_4_1_reserved(self) -> None:
        """These are in no close frame: they say that there was none, or no code, or no TLS."""
        self.assertFailed(*(closing(code) for code in FORBIDDEN))

    def test_7_4_2_unused(self) -> None:
        """Up to 999 there are no codes, and those up to 2999 are for whom IANA lists."""
        self.assertFailed(*(closing(code) for code in (0, 999, 1016, 1100, 2999, 5000, 65535)))

    def test_7_4_2_ownCodes(self) -> None:
        """Those from 3000 to 4999 are for libraries and applications."""
        for code in (3000, 3999, 4000, 4999):
            client = self.paired().client
            client.send(closing(code))
            self.assertEqual(client.frames(), [(CLOSE, True, closeBody(code))])

    # 9.1 Negotiating extensions

    def test_9_1_noExtension(self) -> None:
        """A server that knows none answers none that is offered, however."""
        for offer in (b"permessage-deflate", b"x-unknown; a=b, permessage-deflate", b";;;"):
            visitor = self.visit()
            line = b"Sec-WebSocket-Extensions: %s\r\n\r\n" % offer
            visitor.send(UPGRADE.removesuffix(b"\r\n") + line)
            answer = visitor.take()
            self.assertTrue(answer.startswith(b"HTTP/1.1 101 "))
            self.assertNotIn(b"extensions", answer.lower())


class SecureServerTests(ServerTests):
    """The same with TLS."""

    isSecure = True


class OutcomeTests(SynchronousTestCase):
    """What the server says in close frames of its own."""

    def test_7_4_1_closeCodes(self) -> None:
        """A code that may be in a close frame; 0 is for the ends without one."""
        for outcome in Outcome:
            self.assertIn(outcome.closeCode, {0, *range(1000, 1015)} - set(FORBIDDEN), outcome)

    def test_5_5_1_reasons(self) -> None:
        """UTF-8, and not more of it than a control frame holds."""
        for outcome in Outcome:
            self.assertLessEqual(len(closeBody(outcome.closeCode, outcome.reason)), 125)
